//! The inner product of two tensors head by head. Kernel: `shaders/head_products.wgsl`.

use super::expect;
use super::row_layout::RowLayout;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`head_products`].
#[derive(Clone, Copy, Debug)]
pub struct HeadProducts<'a> {
    /// `[batch · T, D]`
    pub a: &'a Tensor,
    /// `[batch · T, D]`
    pub b: &'a Tensor,
    /// Sequences.
    pub batch: usize,
    /// H: head h owns the columns from h·D/H on.
    pub heads: usize,
    /// `[≥ out_index + batch·H]`: receives one product for each sequence and head from `out_index` on.
    pub out: &'a Tensor,
    /// First element of `out` that is written.
    pub out_index: usize,
}

/// `out[b·H + h] = Σ a ⊙ b` over the positions of sequence b and the columns of head h.
pub fn head_products(recorder: &mut Recorder, op: HeadProducts<'_>) -> Result<(), GpuError> {
    const OP: &str = "head_products";
    expect::f32(OP, &[("a", op.a), ("b", op.b), ("out", op.out)])?;
    expect::shape(OP, "b", op.b, op.a.shape().dims())?;
    let (rows, columns) = (op.a.shape().rows(), op.a.shape().columns());
    let HeadProducts { batch, heads, .. } = op;
    if batch == 0 || heads == 0 || columns % heads != 0 || rows % batch != 0 {
        return Err(GpuError::Shape {
            op: OP,
            operand: "a",
            found: op.a.shape(),
            expected: format!("rows and columns that {batch} sequences and {heads} heads divide"),
        });
    }
    expect::at_least(OP, "out", op.out, op.out_index + batch * heads)?;
    let quads = (columns / heads).is_multiple_of(4);
    let head_items = columns / heads / if quads { 4 } else { 1 };
    let (context, layout) = (rows / batch, RowLayout::of(&recorder.gpu));
    expect::iterations(OP, "a head", (context * head_items).div_ceil(layout.lanes as usize))?;
    recorder.dispatch(
        &Kernel::new("head_products", layout.options(quads, [])),
        &[(1, op.a), (2, op.b), (3, op.out)],
        &[
            expect::index(OP, batch * heads)?,
            heads as u32,
            expect::index(OP, context)?,
            head_items as u32,
            expect::index(OP, op.out_index)?,
        ],
        layout.grid(batch * heads),
    )
}
