//! One small file per operation: the formula, the forward function, the backward function.
//!
//! Everything is row-major `f64`; shapes are parameters, named as in the formulas: `t` rows
//! (tokens), `d` width, `h` heads, `v` vocabulary. A slice whose length does not fit its shape is a
//! mistake of the caller and panics.

mod adamw;
mod attention;
mod bias;
mod cross_entropy;
mod embedding;
mod gelu;
mod layer_norm;
mod linear;
mod matmul;
mod reduce;
mod softmax;
mod vocabulary_summary;

pub use adamw::{AdamW, adamw_step};
pub use attention::{
    Attention, AttentionGrad, attention, attention_backward, merge_heads, patched_pattern, split_heads,
};
pub use bias::{add, add_bias};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use embedding::{embedding, embedding_backward, embedding_batch, embedding_batch_backward};
pub use gelu::{gelu_new, gelu_new_derivative};
pub use layer_norm::{LayerNorm, LayerNormGrad, layer_norm, layer_norm_backward};
pub use linear::{LinearGrad, linear, linear_backward};
pub use matmul::{matmul, matmul_nt, matmul_tn};
pub use reduce::{column_sum, global_norm};
pub use softmax::{causal_softmax, log_sum_exp, softmax};
pub use vocabulary_summary::{VocabularySummary, vocabulary_summary};
