//! What ends a sweep. What is wrong with one row is no error: see [`Rejected`](crate::Rejected).

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;
use retrograd_formats::{FormatError, RequestError};
use retrograd_model::ModelError;

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// A file or directory.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// What was asked for.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The device or the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A table in memory.
    #[error("table: {0}")]
    Table(#[from] ArrowError),
    /// It was interrupted; finished parts stand.
    #[error("interrupted with {parts} of {of} parts done: go on with --resume")]
    Interrupted {
        /// Parts that are finished.
        parts: usize,
        /// Parts that this run was to do.
        of: usize,
    },
}

impl SweepError {
    pub(crate) fn parquet(path: &std::path::Path, error: ParquetError) -> Self {
        FormatError::malformed(path, one_line(&error.to_string())).into()
    }
}

/// Messages of the Parquet library can have several lines.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
