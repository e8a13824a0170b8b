//! `out = scale·Σ a ⊙ b`: a loss from its parts. Kernel: `shaders/weighted_sum.wgsl`.

use super::expect;
use super::row_layout::RowLayout;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`weighted_sum`].
#[derive(Clone, Copy, Debug)]
pub struct WeightedSum<'a> {
    /// The summands.
    pub a: &'a Tensor,
    /// Their weights, as many; `None` for 1.
    pub b: Option<&'a Tensor>,
    /// Factor of the sum.
    pub scale: f32,
    /// Receives the sum.
    pub out: &'a Tensor,
    /// Element of `out` that receives it.
    pub out_index: usize,
}

/// Elements that one workgroup adds up; more are added in a second dispatch.
const STRETCH: usize = 1 << 16;

/// `out[out_index] = scale·Σ_i a[i]·b[i]`.
pub fn weighted_sum(recorder: &mut Recorder, op: WeightedSum<'_>) -> Result<(), GpuError> {
    const OP: &str = "weighted_sum";
    expect::f32(OP, &[("a", op.a), ("out", op.out)])?;
    expect::at_least(OP, "out", op.out, op.out_index + 1)?;
    if let Some(b) = op.b {
        expect::f32(OP, &[("b", b)])?;
        expect::shape(OP, "b", b, op.a.shape().dims())?;
    }
    let groups = op.a.len().div_ceil(STRETCH);
    if groups <= 1 {
        return stretch(recorder, op.a, op.b, op.scale, op.out, op.out_index);
    }
    let partials = recorder.gpu.tensor([groups])?;
    stretch(recorder, op.a, op.b, 1.0, &partials, 0)?;
    stretch(recorder, &partials, None, op.scale, op.out, op.out_index)
}

fn stretch(
    recorder: &mut Recorder,
    a: &Tensor,
    b: Option<&Tensor>,
    scale: f32,
    out: &Tensor,
    out_index: usize,
) -> Result<(), GpuError> {
    const OP: &str = "weighted_sum";
    let layout = RowLayout::single(&recorder.gpu);
    let mut bindings = vec![(1, a), (3, out)];
    if let Some(b) = b {
        bindings.push((2, b));
    }
    recorder.dispatch(
        &Kernel::new("weighted_sum", layout.options(false, [("weighted", b.is_some().into())])),
        &bindings,
        &[expect::index(OP, a.len())?, STRETCH as u32, expect::index(OP, out_index)?, scale.to_bits()],
        [expect::maps(OP, a.len().div_ceil(STRETCH))?, 1, 1],
    )
}
