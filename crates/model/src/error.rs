//! Errors of the model: a file, a request or the device.

use crate::room::size;
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
    /// The device has no room; nothing was begun.
    #[error(
        "{what} needs {} on '{adapter}', of which {} are free: {advice}",
        size(*.needed), size(*.available)
    )]
    OutOfMemory {
        /// What was to be loaded or run.
        what: String,
        /// Bytes it needs.
        needed: u64,
        /// Bytes that are free.
        available: u64,
        /// The adapter.
        adapter: String,
        /// What would help.
        advice: String,
    },
    /// The device refused or failed.
    #[error(transparent)]
    Gpu(#[from] GpuError),
}

impl ModelError {
    /// Whether the device is gone and must be opened again: see [`Gpt2::reopen`](crate::Gpt2::reopen).
    pub fn is_device_lost(&self) -> bool {
        matches!(self, ModelError::Gpu(error) if error.is_device_lost())
    }

    /// Whether there was not enough memory on the device.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            ModelError::OutOfMemory { .. } => true,
            ModelError::Gpu(error) => error.is_out_of_memory(),
            _ => false,
        }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        RequestError::invalid(what, reason).into()
    }
}
