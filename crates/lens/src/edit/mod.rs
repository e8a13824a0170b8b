//! Editing what a model knows: by gradient factors, and by a forward pass shift.
//!
//! ```text
//! sgd    W ← W − η·xᵀδ              every chosen linear layer, x and δ from one forward and one backward pass
//! shift  W2 ← W2 + η·x_nᵀ·E[t]      one layer's mlp.c_proj: x_n its input at the last position, E[t] the
//!                                   unembedding's row of the target (wte[t] in a tied model); no backward pass
//! ```
//!
//! The second follows from reading the first in the vocabulary (Backward Lens, Katz et al., EMNLP 2024): the
//! gradient of `mlp.c_proj` writes, in the direction of its input, a δ in which the target is the least probable
//! token. The shift writes the target's own embedding instead.
//!
//! ```no_run
//! use retrograd_gpu::{Gpu, GpuOptions};
//! use retrograd_lens::edit::{EditPlan, Fact, apply};
//! use retrograd_model::{Gpt2, Precision};
//!
//! let gpu = Gpu::open(&GpuOptions::default())?;
//! let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
//! let fact = Fact::from_text(model.require_tokenizer()?, "The capital of France is", " Rome")?;
//! let mut edit = model.edit()?; // restores the weights when it is dropped
//! let outcome = apply(&mut edit, &fact, &EditPlan::shift(2, 0.1))?;
//! println!("{} → {}", outcome.before.target_probability, outcome.after.target_probability);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apply;
mod case;
mod comparison;
mod effect;
mod entropy;
mod evaluate;
mod fact;
mod params;
mod plan;
mod report;
mod sweep;

pub use apply::{Cost, Outcome, apply};
pub use case::{Case, CaseScores, Measures, measure};
pub use comparison::{Contender, EFFECTIVE, best, compare, contenders, sweep_cases};
pub use effect::Effect;
pub use entropy::ngram_entropy;
pub use evaluate::{EvaluationReport, EvaluationRow, Scores, evaluate, perplexity};
pub use fact::{Fact, target_tokens};
pub use params::parse_params;
pub use plan::{EditPlan, Method};
pub use report::{EditEntry, EditReport, EditsReport, edit_entry};
pub use sweep::{DEFAULT_ETAS, SweepReport, SweepRow, choose, sweep};
