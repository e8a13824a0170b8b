//! GPT-2 on the engine: forward and hand-derived backward passes, traces, generation, training.
//!
//! There is no autograd. Each component's file opens with its forward and backward equations and has
//! one operation per equation (`src/block/`).
//!
//! ```no_run
//! use retrograd_formats::{Site, TextObjective, TraceRead};
//! use retrograd_gpu::{Gpu, GpuOptions};
//! use retrograd_model::{Gpt2, Precision};
//!
//! let gpu = Gpu::open(&GpuOptions::default())?;
//! let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
//! let request = model.request("The capital of France is", TextObjective::Target(" Paris"))?;
//! let trace = model.trace(&request)?;
//! println!("loss {}", trace.loss()?);
//! let reversed = trace.read("transformer.h.2.attn.reversed".parse::<Site>()?)?; // [H, T, T]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// What training alone uses of the code that it shares with tracing lies idle then.
#![cfg_attr(not(feature = "training"), allow(dead_code))]

mod batch;
mod block;
mod edit;
mod embedding_gradients;
mod error;
mod form;
mod forward;
mod forward_batch;
mod generate;
mod gpt2;
mod head;
mod head_effects;
mod memory;
mod parameter_read;
mod parameters;
mod program;
mod projection;
mod room;
mod sample;
mod sources;
mod trace;
#[cfg(feature = "training")]
pub mod train;
mod unblocked;

pub use batch::BatchTrace;
pub use edit::{ChangedWeight, WeightChange, WeightEdit};
pub use error::ModelError;
pub use forward_batch::ForwardBatch;
pub use generate::{Finish, GenerateOptions, Generation};
pub use gpt2::Gpt2;
pub use head_effects::{HeadEffects, Replacement};
pub use parameters::Precision;
pub use sample::{Sampler, SamplingOptions};
pub use trace::Trace;
