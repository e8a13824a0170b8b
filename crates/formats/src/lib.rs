//! What Retrograd reads and writes, and the words it uses for it.
//!
//! Nothing here computes: the crate knows the shape of a GPT-2 ([`Config`]), where its weights
//! lie on disk ([`Weights`]), how text becomes tokens ([`Tokenizer`]), what a trace is asked for
//! ([`TraceRequest`]: tokens, [`Objective`], [`Interventions`], [`Capture`]), what its tensors are
//! called ([`Site`]) and how they are written to a file ([`trace_file`]). The GPU model and the
//! f64 oracle both stand on it, and on nothing else in common.

mod atomic;
mod bounded;
mod capture;
mod config;
mod counterfact;
mod edit_list;
mod error;
mod glob;
mod host_tensor;
mod ids;
mod intervention;
mod ledger;
mod lock;
#[cfg(not(feature = "tokenizer"))]
mod no_tokenizer;
mod objective;
mod parameter_read;
mod partial;
mod projection;
mod reference_file;
mod request;
mod safetensors_file;
mod site;
mod task_file;
pub mod tensor_file;
mod text_objective;
#[cfg(feature = "tokenizer")]
mod tokenizer;
pub mod trace_file;
mod weights;

pub use atomic::{AtomicDir, write_atomic, write_atomic_with};
pub use capture::Capture;
pub use config::Config;
pub use counterfact::{CounterFact, read_counterfact};
pub use edit_list::{EditLine, TextOrIds, read_edit_list};
pub use error::{FormatError, RequestError};
pub use glob::matches_glob;
pub use host_tensor::{HostTensor, TensorData};
pub use ids::{Head, Layer, TokenId, parse_heads, parse_ids};
pub use intervention::{AttentionPatch, Interventions, PatchMap};
pub use ledger::Ledger;
pub use lock::DirectoryLock;
#[cfg(not(feature = "tokenizer"))]
pub use no_tokenizer::Tokenizer;
pub use objective::{Objective, ResolvedObjective};
pub use parameter_read::ParameterRead;
pub use projection::{Project, Projection, ProjectionRequest, TokenStanding};
pub use reference_file::{ReferenceFile, ReferenceName, ReferenceTensor};
pub use request::{HeadNorms, TraceMeta, TraceRead, TraceRequest};
pub use site::{BlockSite, LinearKind, LinearLayer, Site};
pub use task_file::{TaskPair, read_task};
pub use text_objective::TextObjective;
#[cfg(feature = "tokenizer")]
pub use tokenizer::{BpeOptions, StreamDecoder, Tokenizer, train_bpe};
pub use weights::{
    Dtype, EditedModel, TensorEdit, WeightView, Weights, write_edited_model, write_model_weights,
};
