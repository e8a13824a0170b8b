//! Errors of the model: a file, a request or the device.

use retrograd_formats::{FormatError, RequestError};
use retrograd_gpu::GpuError;

/// What can go wrong when a model is loaded, traced, run or trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read or written, or is not what it should be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The request does not fit the model.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The device refused or failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

impl ModelError {
    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        RequestError::invalid(what, reason).into()
    }
}
