//! GPT-2 whose forward pass and hand-derived, closed-form backward pass are WGSL shaders.
//!
//! One forward and one backward pass give what autograd throws away: the Reversed Attention map of every
//! head, and the two low-rank factors of every weight gradient. No Python, no autograd, any GPU that Vulkan,
//! Metal, DX12 or GL reaches, or none at all through a software driver.
//!
//! ```no_run
#![doc = include_str!("../examples/embed.rs")]
//! ```
//!
//! - [`Gpu`] chooses and opens an adapter; [`Gpt2`] is a model on it.
//! - [`TraceRequest`] says what is traced: tokens, [`Objective`], [`Interventions`], [`Capture`].
//! - Everything that holds a trace is read through [`TraceRead`]: the trace on the device
//!   ([`Trace`]), one from the f64 oracle ([`mod@reference`]), one from a file ([`formats::trace_file`]).
//! - [`lens`] has the views on a trace; [`train`] has the optimiser's steps and [`training`] a whole training;
//!   [`gpu`] is the engine below.
//! - [`verify`] holds a device, a model or a file of gradients to f64; [`self_test`] is the short form of it.
//!
//! # Features
//!
//! All are on unless `default-features = false`, which leaves engine, model, traces and generation from token ids.
//!
//! | feature | adds |
//! |---|---|
//! | `tokenizer` | text to tokens and back ([`Tokenizer`]; without it a type of which there is no value) |
//! | `lens` | [`lens`]: views on a trace, edits, tasks, the flow graph |
//! | `training` | [`train`] and [`training`] |
//! | `verify` | [`mod@reference`], the f64 oracle, and [`verify`]; needs the three above |
//! | `gles` | OpenGL, where there is none of Vulkan, Metal and DX12 |

#![warn(missing_docs)]

#[cfg(feature = "training")]
pub mod training;

pub use retrograd_formats as formats;
pub use retrograd_gpu as gpu;
#[cfg(feature = "lens")]
pub use retrograd_lens as lens;
#[cfg(feature = "verify")]
pub use retrograd_reference as reference;
#[cfg(feature = "verify")]
pub use retrograd_verify as verify;
#[cfg(feature = "verify")]
pub use retrograd_verify::self_test;

pub use retrograd_formats::{
    AttentionPatch, BlockSite, Capture, Config, FormatError, Head, HostTensor, Interventions, Layer,
    LinearKind, LinearLayer, Objective, ParameterRead, PatchMap, Project, Projection, ProjectionRequest,
    RequestError, Site, TextObjective, TokenId, TokenStanding, Tokenizer, TraceRead, TraceRequest,
};
pub use retrograd_gpu::{Gpu, GpuError, GpuOptions};
#[cfg(feature = "training")]
pub use retrograd_model::train;
pub use retrograd_model::{
    ChangedWeight, Finish, GenerateOptions, Generation, Gpt2, ModelError, Precision, Sampler,
    SamplingOptions, Trace, WeightChange, WeightEdit,
};
