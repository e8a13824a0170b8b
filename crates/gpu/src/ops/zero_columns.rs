//! Silences heads: sets their columns to 0. Kernel: `shaders/zero_columns.wgsl`.

use super::expect;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`zero_columns`].
#[derive(Clone, Copy, Debug)]
pub struct ZeroColumns<'a> {
    /// `[rows, D]`
    pub x: &'a Tensor,
    /// `[heads]` u32: 1 keeps the head's D/heads columns, 0 zeroes them.
    pub keep: &'a Tensor,
    /// `[rows, D]`: result.
    pub out: &'a Tensor,
}

/// Copies `x` with the columns of some heads set to 0.
pub fn zero_columns(recorder: &mut Recorder, op: ZeroColumns<'_>) -> Result<(), GpuError> {
    const OP: &str = "zero_columns";
    expect::f32(OP, &[("x", op.x), ("out", op.out)])?;
    expect::u32(OP, &[("keep", op.keep)])?;
    let (rows, columns, heads) = (op.x.shape().rows(), op.x.shape().columns(), op.keep.len());
    expect::shape(OP, "out", op.out, op.x.shape().dims())?;
    if heads == 0 || columns % heads != 0 {
        return Err(GpuError::Shape {
            op: OP,
            operand: "keep",
            found: op.keep.shape(),
            expected: format!("a divisor of the {columns} columns"),
        });
    }
    recorder.dispatch(
        &Kernel::new("zero_columns", []),
        &[(1, op.x), (2, op.keep), (3, op.out)],
        &[expect::index(OP, rows)?, expect::index(OP, columns)?, (columns / heads) as u32],
        expect::column_grid(columns, rows),
    )
}
