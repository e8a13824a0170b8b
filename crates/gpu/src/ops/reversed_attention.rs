//! `R = A ⊙ (E − rowsum(A ⊙ E))/√d`. Kernel: `shaders/reversed_attention.wgsl`.

use super::expect;
use super::row_layout::RowLayout;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`reversed_attention`].
#[derive(Clone, Copy, Debug)]
pub struct ReversedAttention<'a> {
    /// `[maps, T, T]`: the softmax's output A (before any patch).
    pub pattern: &'a Tensor,
    /// `[maps, T, T]`: E = ∂o·vᵀ; only its lower triangle is read.
    pub e: &'a Tensor,
    /// Rows before this one carry no gradient.
    pub first_row: usize,
    /// 1/√d.
    pub scale: f32,
    /// `[maps, T, T]`: result, exactly 0 above the diagonal.
    pub reversed: &'a Tensor,
}

/// Reversed Attention, `∂L/∂(q·kᵀ)` (Katz & Wolf 2025).
pub fn reversed_attention(recorder: &mut Recorder, op: ReversedAttention<'_>) -> Result<(), GpuError> {
    const OP: &str = "reversed_attention";
    expect::f32(OP, &[("pattern", op.pattern), ("e", op.e), ("reversed", op.reversed)])?;
    let context = op.pattern.shape().columns();
    let maps = op.pattern.len() / (context * context).max(1);
    for (name, tensor) in [("pattern", op.pattern), ("e", op.e), ("reversed", op.reversed)] {
        expect::shape(OP, name, tensor, &[maps, context, context])?;
    }
    let layout = RowLayout::of(&recorder.gpu);
    expect::iterations(OP, "a row", 2 * context.div_ceil(layout.lanes as usize))?;
    recorder.dispatch(
        &Kernel::new("reversed_attention", layout.options(false, [])),
        &[(1, op.pattern), (2, op.e), (3, op.reversed)],
        &[context as u32, expect::index(OP, op.first_row)?, op.scale.to_bits()],
        [expect::maps(OP, layout.groups(context))?, expect::maps(OP, maps)?, 1],
    )
}
