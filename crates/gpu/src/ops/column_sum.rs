//! Sum over rows: a bias gradient, `∂b = Σ_t δ_t`. Kernel: `shaders/column_sum.wgsl`.

use super::expect;
use crate::kernel::Kernel;
use crate::{Gpu, GpuError, Recorder, Tensor};

/// Rows that one workgroup adds up; more rows are added in a second dispatch. Small enough for many
/// chunks to run side by side, large enough that the second dispatch is short.
pub(crate) const CHUNK_ROWS: usize = 256;

/// How a workgroup of the kernels that add rows up divides its work: items of columns, and invocations that share each.
/// Shader side: `shaders/column_parts.wgsl`.
#[derive(Clone, Copy)]
pub(super) struct ColumnParts {
    columns: u32,
    parts: u32,
}

impl ColumnParts {
    /// A GPU waits for memory in every row that one invocation adds: there, sixteen share them.
    pub(super) fn of(gpu: &Gpu) -> Self {
        match gpu.capabilities().reduces_as_on_a_gpu() {
            true => ColumnParts { columns: 16, parts: 16 },
            false => ColumnParts { columns: 64, parts: 1 },
        }
    }

    /// The kernel `name` for single elements or for `quads` of them.
    pub(super) fn kernel(self, name: &'static str, quads: bool) -> Kernel {
        Kernel::new(name, [("quads", quads.into()), ("columns", self.columns), ("parts", self.parts)])
    }

    /// Workgroups across so many items.
    pub(super) fn across(self, items: usize) -> u32 {
        items.div_ceil(self.columns as usize) as u32
    }
}

/// Operands of [`column_sum`].
#[derive(Clone, Copy, Debug)]
pub struct ColumnSum<'a> {
    /// `[rows, *]`
    pub x: &'a Tensor,
    /// First column that is summed.
    pub first_column: usize,
    /// `[columns]`: result.
    pub out: &'a Tensor,
}

/// `out[j] = Σ_i x[i][first_column + j]`.
pub fn column_sum(recorder: &mut Recorder, op: ColumnSum<'_>) -> Result<(), GpuError> {
    const OP: &str = "column_sum";
    expect::f32(OP, &[("x", op.x), ("out", op.out)])?;
    let (rows, stride, columns) = (op.x.shape().rows(), op.x.shape().columns(), op.out.len());
    if op.first_column + columns > stride {
        return Err(GpuError::Shape {
            op: OP,
            operand: "out",
            found: op.out.shape(),
            expected: format!("at most the {stride} columns of x from column {}", op.first_column),
        });
    }
    let parts = ColumnParts::of(&recorder.gpu);
    let mut rows = rows;
    let mut stride = stride;
    let mut first_column = op.first_column;
    let mut source = op.x.clone();
    loop {
        let chunks = rows.div_ceil(CHUNK_ROWS);
        let target = if chunks == 1 { op.out.clone() } else { recorder.gpu.tensor([chunks, columns])? };
        let quads = [columns, stride, first_column].iter().all(|x| x.is_multiple_of(4));
        let width = if quads { 4 } else { 1 };
        recorder.dispatch(
            &parts.kernel("column_sum", quads),
            &[(1, &source), (2, &target)],
            &[
                expect::index(OP, rows)?,
                expect::index(OP, columns / width)?,
                expect::index(OP, stride / width)?,
                expect::index(OP, first_column / width)?,
                CHUNK_ROWS as u32,
            ],
            [parts.across(columns / width), expect::maps(OP, chunks)?, 1],
        )?;
        if chunks <= 1 {
            return Ok(());
        }
        (rows, stride, first_column, source) = (chunks, columns, 0, target);
    }
}
