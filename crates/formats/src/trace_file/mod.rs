//! Trace files: a trace as safetensors, every tensor under its [`Site`](crate::Site)'s name.

mod patch;
mod read;
mod write;

pub use patch::load_patch;
pub use read::TraceFile;
pub(crate) use read::parse_objective;
pub use write::write;

use crate::{FormatError, RequestError};

/// The value of the metadata key `format`.
pub(crate) const FORMAT: &str = "retrograd-trace/1";
/// What `attn.reversed` holds, for readers that know only the file.
const REVERSED: &str = "dL/d(q.kT), includes 1/sqrt(d_head), sign of the loss gradient";

/// A trace that could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceFileError {
    /// The file could not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The trace could not be read.
    #[error(transparent)]
    Request(#[from] RequestError),
}
