//! Why something was not measured.

use retrograd_formats::{FormatError, RequestError};
use retrograd_gpu::GpuError;
use retrograd_model::ModelError;
use std::path::PathBuf;

/// An error of a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// What was asked for.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A kernel computes something else than it should; it is not timed.
    #[error(
        "{kernel} ({site}, {shape}) on '{adapter}' is off by {error:.1e} of its largest value, more than the {bound:.1e} \
         of rounding: it is wrong and was not timed; 'retrograd doctor' tests the adapter"
    )]
    WrongResult {
        /// The kernel.
        kernel: String,
        /// Where it occurs.
        site: String,
        /// Its extents.
        shape: String,
        /// The adapter.
        adapter: String,
        /// Largest error relative to the largest value.
        error: f64,
        /// What rounding may leave.
        bound: f64,
    },
    /// A program that was to be timed did not end well.
    #[error("{program} ended with {status}: {stderr}")]
    Child {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: String,
        /// The last line it wrote to stderr.
        stderr: String,
    },
}
