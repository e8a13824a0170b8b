//! Attention patching: `A'_bh = A_bh + α_b·M_h`. Kernel: `shaders/patch_attention.wgsl`.

use super::expect;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`patch_attention`].
#[derive(Clone, Copy, Debug)]
pub struct PatchAttention<'a> {
    /// A, `[batch · H, T, T]`
    pub pattern: &'a Tensor,
    /// M, `[H, T, T]`: the same for every sequence.
    pub map: &'a Tensor,
    /// α, `[batch]`: one factor for each sequence.
    pub alpha: &'a Tensor,
    /// A', `[batch · H, T, T]`: result.
    pub out: &'a Tensor,
}

/// Adds a map to the attention of every sequence, each with its factor.
pub fn patch_attention(recorder: &mut Recorder, op: PatchAttention<'_>) -> Result<(), GpuError> {
    const OP: &str = "patch_attention";
    expect::f32(OP, &[("pattern", op.pattern), ("map", op.map), ("alpha", op.alpha), ("out", op.out)])?;
    expect::shape(OP, "out", op.out, op.pattern.shape().dims())?;
    let batch = op.alpha.len();
    if op.map.is_empty() || batch * op.map.len() != op.pattern.len() {
        return Err(GpuError::Shape {
            op: OP,
            operand: "map",
            found: op.map.shape(),
            expected: format!("the maps of one of the {batch} sequences in {}", op.pattern.shape()),
        });
    }
    let width = expect::item_width(op.map);
    let items = op.pattern.len() / width;
    recorder.dispatch(
        &Kernel::new("patch_attention", [("quads", (width == 4).into())]),
        &[(1, op.pattern), (2, op.map), (3, op.alpha), (4, op.out)],
        &[expect::index(OP, items)?, expect::index(OP, op.map.len() / width)?],
        expect::flat_grid(items),
    )
}
