//! `y = γ ⊙ (x − μ)/σ + β`, row by row. Kernel: `shaders/layer_norm.wgsl`.

use super::expect;
use super::row_layout::{RowLayout, in_quads};
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`layer_norm`].
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// `[*, D]`
    pub x: &'a Tensor,
    /// First row of `x` that is normalised.
    pub x_row: usize,
    /// `[D]`
    pub gamma: &'a Tensor,
    /// `[D]`
    pub beta: &'a Tensor,
    /// Added to the variance.
    pub epsilon: f32,
    /// `[rows, D]`: result.
    pub y: &'a Tensor,
    /// `[rows, 2]`: mean and 1/σ, for the backward pass.
    pub stats: &'a Tensor,
}

/// Normalises `y.rows()` rows of `x`, scales and shifts them.
pub fn layer_norm(recorder: &mut Recorder, op: LayerNorm<'_>) -> Result<(), GpuError> {
    const OP: &str = "layer_norm";
    let (rows, columns) = (op.y.shape().rows(), op.y.shape().columns());
    expect::f32(
        OP,
        &[("x", op.x), ("gamma", op.gamma), ("beta", op.beta), ("y", op.y), ("stats", op.stats)],
    )?;
    expect::shape(OP, "gamma", op.gamma, &[columns])?;
    expect::shape(OP, "beta", op.beta, &[columns])?;
    expect::shape(OP, "stats", op.stats, &[rows, 2])?;
    expect::at_least(OP, "x", op.x, (op.x_row + rows) * columns)?;
    let layout = RowLayout::of(&recorder.gpu);
    let quads = in_quads(&[op.y]);
    expect::iterations(OP, "a row", 3 * columns.div_ceil(layout.lanes as usize))?;
    recorder.dispatch(
        &Kernel::new("layer_norm", layout.options(quads, [])),
        &[(1, op.x), (2, op.gamma), (3, op.beta), (4, op.y), (5, op.stats)],
        &[expect::index(OP, rows)?, columns as u32, op.epsilon.to_bits(), op.x_row as u32],
        layout.grid(rows),
    )
}
