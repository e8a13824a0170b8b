//! Gradient of a layer norm with respect to its input. Kernel: `shaders/layer_norm_backward.wgsl`.

use super::expect;
use super::row_layout::{RowLayout, in_quads};
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`layer_norm_backward`].
#[derive(Clone, Copy, Debug)]
pub struct LayerNormBackward<'a> {
    /// `[rows, D]`: gradient of the norm's output.
    pub dy: &'a Tensor,
    /// `[*, D]`: the norm's input.
    pub x: &'a Tensor,
    /// First row of `x`, `upstream` and `dx` that was normalised.
    pub x_row: usize,
    /// `[D]`
    pub gamma: &'a Tensor,
    /// `[rows, 2]`: mean and 1/σ from the forward pass.
    pub stats: &'a Tensor,
    /// `[*, D]`: the gradient that reaches `x` past the norm.
    pub upstream: Option<&'a Tensor>,
    /// `[*, D]`: result; rows outside `x_row .. x_row + rows` are not touched.
    pub dx: &'a Tensor,
}

/// `dx = upstream + LNᵇ(dy)`.
pub fn layer_norm_backward(recorder: &mut Recorder, op: LayerNormBackward<'_>) -> Result<(), GpuError> {
    const OP: &str = "layer_norm_backward";
    let (rows, columns) = (op.dy.shape().rows(), op.dy.shape().columns());
    expect::f32(OP, &[("dy", op.dy), ("x", op.x), ("gamma", op.gamma), ("stats", op.stats), ("dx", op.dx)])?;
    expect::shape(OP, "gamma", op.gamma, &[columns])?;
    expect::shape(OP, "stats", op.stats, &[rows, 2])?;
    expect::at_least(OP, "x", op.x, (op.x_row + rows) * columns)?;
    expect::at_least(OP, "dx", op.dx, (op.x_row + rows) * columns)?;
    let mut bindings = vec![(1, op.dy), (2, op.x), (3, op.gamma), (4, op.stats), (6, op.dx)];
    if let Some(upstream) = op.upstream {
        expect::f32(OP, &[("upstream", upstream)])?;
        expect::at_least(OP, "upstream", upstream, (op.x_row + rows) * columns)?;
        bindings.push((5, upstream));
    }
    let layout = RowLayout::of(&recorder.gpu);
    let quads = in_quads(&[op.dy]);
    expect::iterations(OP, "a row", 2 * columns.div_ceil(layout.lanes as usize))?;
    recorder.dispatch(
        &Kernel::new(
            "layer_norm_backward",
            layout.options(quads, [("upstream", op.upstream.is_some().into())]),
        ),
        &bindings,
        &[expect::index(OP, rows)?, columns as u32, expect::index(OP, op.x_row)?],
        layout.grid(rows),
    )
}
