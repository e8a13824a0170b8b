//! `out = a + scale·b`: attention patching. Kernel: `shaders/add_scaled.wgsl`.

use super::expect;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`add_scaled`].
#[derive(Clone, Copy, Debug)]
pub struct AddScaled<'a> {
    /// First summand.
    pub a: &'a Tensor,
    /// Second summand, as many elements.
    pub b: &'a Tensor,
    /// Factor of `b`.
    pub scale: f32,
    /// Result, as many elements.
    pub out: &'a Tensor,
}

/// `out = a + scale·b`, element by element.
pub fn add_scaled(recorder: &mut Recorder, op: AddScaled<'_>) -> Result<(), GpuError> {
    const OP: &str = "add_scaled";
    expect::f32(OP, &[("a", op.a), ("b", op.b), ("out", op.out)])?;
    expect::shape(OP, "b", op.b, op.a.shape().dims())?;
    expect::shape(OP, "out", op.out, op.a.shape().dims())?;
    let width = expect::item_width(op.a);
    let items = op.a.len() / width;
    recorder.dispatch(
        &Kernel::new("add_scaled", [("quads", (width == 4).into())]),
        &[(1, op.a), (2, op.b), (3, op.out)],
        &[expect::index(OP, items)?, op.scale.to_bits()],
        expect::flat_grid(items),
    )
}
