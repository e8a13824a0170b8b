//! Checks that every operation makes before it records anything.

use crate::recorder::MAX_WORKGROUPS;
use crate::{Dtype, GpuError, Tensor};

/// lavapipe silently stops an invocation's loops after 65,535 iterations, all loops together. Kernels
/// stay below this many.
pub(crate) const MAX_ITERATIONS: usize = 60_000;

/// Rows of a grid's x dimension where row-wise kernels go on in y (they compute `y·32768 + x`).
pub(crate) const GRID_ROWS: usize = 32_768;

pub(crate) fn shape(
    op: &'static str,
    operand: &'static str,
    tensor: &Tensor,
    dims: &[usize],
) -> Result<(), GpuError> {
    if tensor.shape().dims() == dims {
        return Ok(());
    }
    Err(GpuError::Shape { op, operand, found: tensor.shape(), expected: format!("{dims:?}") })
}

pub(crate) fn at_least(
    op: &'static str,
    operand: &'static str,
    tensor: &Tensor,
    elements: usize,
) -> Result<(), GpuError> {
    if tensor.len() >= elements {
        return Ok(());
    }
    Err(GpuError::Shape {
        op,
        operand,
        found: tensor.shape(),
        expected: format!("at least {elements} elements"),
    })
}

pub(crate) fn f32(op: &'static str, operands: &[(&'static str, &Tensor)]) -> Result<(), GpuError> {
    dtype(op, operands, Dtype::F32, "expected f32")
}

pub(crate) fn u32(op: &'static str, operands: &[(&'static str, &Tensor)]) -> Result<(), GpuError> {
    dtype(op, operands, Dtype::U32, "expected u32")
}

fn dtype(
    op: &'static str,
    operands: &[(&'static str, &Tensor)],
    wanted: Dtype,
    expected: &'static str,
) -> Result<(), GpuError> {
    for (operand, tensor) in operands {
        if tensor.dtype() != wanted {
            return Err(GpuError::Dtype { op, operand, expected });
        }
    }
    Ok(())
}

pub(crate) fn iterations(op: &'static str, what: &str, count: usize) -> Result<(), GpuError> {
    if count <= MAX_ITERATIONS {
        return Ok(());
    }
    Err(GpuError::Unsupported {
        op,
        reason: format!("{what} needs {count} loop iterations an invocation; drivers stop at 65,535"),
    })
}

/// A u32 kernel parameter, or an error naming the operand whose indices would overflow.
pub(crate) fn index(op: &'static str, value: usize) -> Result<u32, GpuError> {
    u32::try_from(value)
        .map_err(|_| GpuError::Unsupported { op, reason: format!("{value} exceeds 32-bit indices") })
}

/// Grid for one invocation per element, 64 columns to a workgroup, rows in y and then z.
pub(crate) fn column_grid(columns: usize, rows: usize) -> [u32; 3] {
    [columns.div_ceil(64) as u32, rows.min(GRID_ROWS) as u32, rows.div_ceil(GRID_ROWS) as u32]
}

/// Elements that a kernel over a flat tensor takes at a time: four where it has whole quads.
pub(crate) fn item_width(tensor: &Tensor) -> usize {
    if tensor.len().is_multiple_of(4) { 4 } else { 1 }
}

/// Grid for one invocation per element of a flat tensor, 64 to a workgroup.
pub(crate) fn flat_grid(elements: usize) -> [u32; 3] {
    let groups = elements.div_ceil(64);
    [groups.min(GRID_ROWS) as u32, groups.div_ceil(GRID_ROWS) as u32, 1]
}

pub(crate) fn maps(op: &'static str, count: usize) -> Result<u32, GpuError> {
    if count <= MAX_WORKGROUPS as usize {
        return Ok(count as u32);
    }
    Err(GpuError::Unsupported { op, reason: format!("{count} maps; at most {MAX_WORKGROUPS}") })
}
