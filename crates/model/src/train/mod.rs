//! Training: weight gradients as xᵀδ from the factors that tracing emits, clipped by their global norm,
//! AdamW. One step is two recorded passes; nothing is allocated after the first.

mod data;
mod initial;
mod options;
mod state;
mod trainer;

pub use data::Dataset;
pub use options::{Order, Schedule, TrainOptions};
pub use trainer::{NamedValues, StepReport, Trainer};
