//! GPT-2, forward and backward, in plain f64 Rust: the oracle that the GPU kernels are held against.
//!
//! - [`ops`]: one small file per operation, formula first, forward and backward side by side.
//! - [`ReferenceModel`]: the model; [`trace`](ReferenceModel::trace) runs any trace request through
//!   it, [`gradients`](ReferenceModel::gradients) gives every weight gradient of a training batch.
//! - [`ReferenceTrace`]: the result in f64, and through [`TraceRead`](retrograd_formats::TraceRead)
//!   in f32 for everything that reads traces.
//!
//! Nothing here is approximate, random or dependent on the number of threads: the same input gives
//! the same bits.

mod block;
mod gradients;
mod head;
mod intervention;
mod model;
mod objective;
pub mod ops;
mod parameters;
mod projection;
mod trace;

pub use gradients::Gradients;
pub use model::ReferenceModel;
pub use trace::ReferenceTrace;
