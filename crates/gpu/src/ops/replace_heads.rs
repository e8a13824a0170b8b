//! Silences heads, or makes them say something else. Kernel: `shaders/replace_heads.wgsl`.

use super::expect;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`replace_heads`].
#[derive(Clone, Copy, Debug)]
pub struct ReplaceHeads<'a> {
    /// `[batch · T, D]`
    pub x: &'a Tensor,
    /// `[batch, heads]` u32: 1 replaces the head's D/heads columns in that sequence, 0 keeps them.
    pub replaced: &'a Tensor,
    /// `[batch, D]`: what they are replaced by, at every position; 0 without.
    pub fill: Option<&'a Tensor>,
    /// Positions of each sequence before this one are kept.
    pub first_position: usize,
    /// `[batch · T, D]`: result.
    pub out: &'a Tensor,
}

/// Copies `x` with the columns of some heads replaced.
pub fn replace_heads(recorder: &mut Recorder, op: ReplaceHeads<'_>) -> Result<(), GpuError> {
    const OP: &str = "replace_heads";
    expect::f32(OP, &[("x", op.x), ("out", op.out)])?;
    expect::u32(OP, &[("replaced", op.replaced)])?;
    let (rows, columns) = (op.x.shape().rows(), op.x.shape().columns());
    expect::shape(OP, "out", op.out, op.x.shape().dims())?;
    let (batch, heads) = (op.replaced.shape().rows(), op.replaced.shape().columns());
    if batch == 0 || heads == 0 || columns % heads != 0 || rows % batch != 0 {
        return Err(GpuError::Shape {
            op: OP,
            operand: "replaced",
            found: op.replaced.shape(),
            expected: format!("[sequences, heads]: divisors of the {rows} rows and the {columns} columns"),
        });
    }
    let mut bindings = vec![(1, op.x), (2, op.replaced), (3, op.out)];
    if let Some(fill) = op.fill {
        expect::f32(OP, &[("fill", fill)])?;
        expect::shape(OP, "fill", fill, &[batch, columns])?;
        bindings.push((4, fill));
    }
    recorder.dispatch(
        &Kernel::new("replace_heads", [("filled", op.fill.is_some().into())]),
        &bindings,
        &[
            expect::index(OP, rows)?,
            expect::index(OP, columns)?,
            (columns / heads) as u32,
            (rows / batch) as u32,
            expect::index(OP, op.first_position)?,
        ],
        expect::column_grid(columns, rows),
    )
}
