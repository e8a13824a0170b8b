//! Gradients of the embedding tables. Kernels: `shaders/embedding_backward.wgsl` and
//! `shaders/position_embedding_backward.wgsl`.

use super::expect;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`embedding_backward`]. `unique`, `offsets` and `order` are the rows sorted by token:
/// the rows of token `unique[u]` are `order[offsets[u] .. offsets[u + 1]]`.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingBackward<'a> {
    /// `[rows]` u32: distinct tokens; surplus entries have empty ranges.
    pub unique: &'a Tensor,
    /// `[rows + 1]` u32.
    pub offsets: &'a Tensor,
    /// `[rows]` u32.
    pub order: &'a Tensor,
    /// `[rows, D]`: gradient of the embedded tokens.
    pub delta: &'a Tensor,
    /// First token of the range.
    pub first: usize,
    /// `[count, D]`: the range's gradient.
    pub d_wte: &'a Tensor,
    /// Adds to `d_wte` (rows of other tokens keep their value); otherwise rows are overwritten.
    pub accumulate: bool,
}

/// Sums the rows of each token into its row of the table's gradient.
pub fn embedding_backward(recorder: &mut Recorder, op: EmbeddingBackward<'_>) -> Result<(), GpuError> {
    const OP: &str = "embedding_backward";
    let (rows, columns) = (op.delta.shape().rows(), op.delta.shape().columns());
    expect::f32(OP, &[("delta", op.delta), ("d_wte", op.d_wte)])?;
    expect::u32(OP, &[("unique", op.unique), ("offsets", op.offsets), ("order", op.order)])?;
    expect::shape(OP, "unique", op.unique, &[rows])?;
    expect::shape(OP, "offsets", op.offsets, &[rows + 1])?;
    expect::shape(OP, "order", op.order, &[rows])?;
    expect::iterations(OP, "a token that fills every row", rows)?;
    let count = op.d_wte.shape().rows();
    expect::shape(OP, "d_wte", op.d_wte, &[count, columns])?;
    recorder.dispatch(
        &Kernel::new("embedding_backward", [("accumulate", op.accumulate.into())]),
        &[(1, op.unique), (2, op.offsets), (3, op.order), (4, op.delta), (5, op.d_wte)],
        &[rows as u32, columns as u32, expect::index(OP, op.first)?, expect::index(OP, count)?],
        expect::column_grid(columns, rows),
    )
}

/// Operands of [`position_embedding_backward`].
#[derive(Clone, Copy, Debug)]
pub struct PositionEmbeddingBackward<'a> {
    /// `[batch·context, D]`: gradient of the embedded tokens.
    pub delta: &'a Tensor,
    /// Sequences.
    pub batch: usize,
    /// Tokens of one sequence.
    pub context: usize,
    /// `[n_positions, D]`: result.
    pub d_wpe: &'a Tensor,
}

/// Sums the rows of each position over the batch.
pub fn position_embedding_backward(
    recorder: &mut Recorder,
    op: PositionEmbeddingBackward<'_>,
) -> Result<(), GpuError> {
    const OP: &str = "position_embedding_backward";
    let (positions, columns) = (op.d_wpe.shape().rows(), op.d_wpe.shape().columns());
    expect::f32(OP, &[("delta", op.delta), ("d_wpe", op.d_wpe)])?;
    expect::shape(OP, "delta", op.delta, &[op.batch * op.context, columns])?;
    expect::iterations(OP, "a batch", op.batch)?;
    recorder.dispatch(
        &Kernel::new("position_embedding_backward", []),
        &[(1, op.delta), (2, op.d_wpe)],
        &[op.batch as u32, expect::index(OP, op.context)?, columns as u32, expect::index(OP, positions)?],
        expect::column_grid(columns, positions),
    )
}
