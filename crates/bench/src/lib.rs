//! What `retrograd bench` measures.
//!
//! - [`kernels`]: every kernel at the sizes of GPT-2's models, checked before it is timed;
//! - [`trace`](mod@trace), [`generate`](mod@generate), [`train`](mod@train): whole passes of a model;
//! - [`start`](mod@start): a process from its start to its printed result;
//! - [`tune`](mod@tune): which GEMM variant is fastest on this adapter, kept in the user's [`cache`].
//!
//! Each returns [`Row`]s of a [`Document`]. Times are medians of several runs; [`Samples`] says of which.
//! Nothing is printed here: what goes on is told to a callback.

pub mod breakdown;
pub mod cache;
pub mod chrome;
mod clock;
mod error;
pub mod flops;
pub mod generate;
pub mod heads;
pub mod kernels;
mod memory;
mod model;
mod row;
mod samples;
mod shape;
pub mod start;
pub mod trace;
pub mod train;
pub mod tune;

pub use clock::{Effort, Timer, ns_of_runs};
pub use error::BenchError;
pub use memory::{peak_rss_mb, reset_peak_rss};
pub use model::ModelSource;
pub use row::{
    Document, GenerateFigures, HeadFigures, KernelFigures, Row, StartFigures, TraceFigures, TrainFigures,
    TuneFigures,
};
pub use samples::Samples;
pub use shape::NamedShape;

/// Is told what is being measured now.
pub type Progress<'a> = &'a mut dyn FnMut(&str);
