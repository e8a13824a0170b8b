//! Gradients of a layer norm's γ and β. Kernel: `shaders/layer_norm_grad.wgsl`.

use super::column_sum::{CHUNK_ROWS, ColumnParts, ColumnSum, column_sum};
use super::expect;
use super::row_layout::in_quads;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`layer_norm_grad`].
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGrad<'a> {
    /// `[rows, D]`: gradient of the norm's output.
    pub dy: &'a Tensor,
    /// `[*, D]`: the norm's input.
    pub x: &'a Tensor,
    /// First row of `x` that was normalised.
    pub x_row: usize,
    /// `[rows, 2]`: mean and 1/σ from the forward pass.
    pub stats: &'a Tensor,
    /// `[2, D]`: result, ∂γ then ∂β.
    pub d_gamma_beta: &'a Tensor,
}

/// `∂γ = Σ ∂y ⊙ x̂`, `∂β = Σ ∂y`.
pub fn layer_norm_grad(recorder: &mut Recorder, op: LayerNormGrad<'_>) -> Result<(), GpuError> {
    const OP: &str = "layer_norm_grad";
    let (rows, columns) = (op.dy.shape().rows(), op.dy.shape().columns());
    expect::f32(OP, &[("dy", op.dy), ("x", op.x), ("stats", op.stats), ("d_gamma_beta", op.d_gamma_beta)])?;
    expect::shape(OP, "stats", op.stats, &[rows, 2])?;
    expect::shape(OP, "d_gamma_beta", op.d_gamma_beta, &[2, columns])?;
    expect::at_least(OP, "x", op.x, (op.x_row + rows) * columns)?;
    let chunks = rows.div_ceil(CHUNK_ROWS);
    let scratch = match chunks {
        1 => None,
        _ => Some(recorder.gpu.tensor([chunks, 2 * columns])?),
    };
    let partial = scratch.as_ref().unwrap_or(op.d_gamma_beta);
    let quads = in_quads(&[op.dy]);
    let items = if quads { columns / 4 } else { columns };
    let parts = ColumnParts::of(&recorder.gpu);
    recorder.dispatch(
        &parts.kernel("layer_norm_grad", quads),
        &[(1, op.dy), (2, op.x), (3, op.stats), (4, partial)],
        &[expect::index(OP, rows)?, items as u32, expect::index(OP, op.x_row)?, CHUNK_ROWS as u32],
        [parts.across(items), chunks as u32, 1],
    )?;
    match &scratch {
        None => Ok(()),
        Some(partial) => {
            let out = op.d_gamma_beta.reshape([2 * columns]);
            column_sum(recorder, ColumnSum { x: partial, first_column: 0, out: &out })
        }
    }
}
