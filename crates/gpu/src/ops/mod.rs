//! The operations: one file each, under the name of its WGSL kernel.
//!
//! An operation checks the shapes and element types of its operands and records one dispatch (or the
//! few it needs). Nothing runs until the recorded [`Pass`](crate::Pass) does.

mod adamw;
mod add_scaled;
mod attention_decode;
mod causal_softmax;
mod column_sum;
mod cross_entropy;
mod custom;
mod embedding;
mod embedding_backward;
mod expect;
mod gemm;
mod gemm_tile;
mod global_norm;
mod head_products;
mod layer_norm;
mod layer_norm_backward;
mod layer_norm_grad;
mod map_norms;
mod matrix;
mod pack;
mod patch_attention;
mod replace_heads;
mod reversed_attention;
mod row_layout;
mod vocabulary_summary;
mod weighted_sum;

pub use adamw::{AdamW, HYPERPARAMETERS, adamw};
pub use add_scaled::{AddScaled, add_scaled};
pub use attention_decode::{AttentionDecode, attention_decode};
pub use causal_softmax::causal_softmax;
pub use column_sum::{ColumnSum, column_sum};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use custom::{Custom, custom};
pub use embedding::{Embedding, embedding};
pub use embedding_backward::{
    EmbeddingBackward, PositionEmbeddingBackward, embedding_backward, position_embedding_backward,
};
pub use gemm::{Causal, Form, Gemm, GemmVariant, gemm};
pub use gemm_tile::WorkgroupTile;
pub use global_norm::{GlobalNorm, global_norm};
pub use head_products::{HeadProducts, head_products};
pub use layer_norm::{LayerNorm, layer_norm};
pub use layer_norm_backward::{LayerNormBackward, layer_norm_backward};
pub use layer_norm_grad::{LayerNormGrad, layer_norm_grad};
pub use map_norms::{MapNorms, map_norms};
pub use matrix::Matrix;
pub use pack::{Pack, Unpack, pack, unpack};
pub use patch_attention::{PatchAttention, patch_attention};
pub use replace_heads::{ReplaceHeads, replace_heads};
pub use reversed_attention::{ReversedAttention, reversed_attention};
pub use vocabulary_summary::{NO_TOKEN, RankedTokens, VocabularySummary, vocabulary_summary};
pub use weighted_sum::{WeightedSum, weighted_sum};

/// A range of vocabulary rows of an embedding matrix: a device binds at most so many bytes at once.
#[derive(Clone, Debug)]
pub struct VocabRange {
    /// First token.
    pub first: usize,
    /// The rows, `[count, D]`, f32 or f16.
    pub rows: crate::Tensor,
}

impl VocabRange {
    /// Number of tokens in the range.
    pub fn count(&self) -> usize {
        self.rows.shape().dims()[0]
    }
}
