//! Frobenius norm of every map of a stack. Kernel: `shaders/map_norms.wgsl`.

use super::expect;
use super::row_layout::{RowLayout, in_quads};
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`map_norms`].
#[derive(Clone, Copy, Debug)]
pub struct MapNorms<'a> {
    /// `[maps, rows, columns]`
    pub maps: &'a Tensor,
    /// Scratch, `[maps, rows]`: sums of squares of each row.
    pub row_sums: &'a Tensor,
    /// `[≥ out_index + maps]`: receives the norms from `out_index` on.
    pub out: &'a Tensor,
    /// First element of `out` that is written.
    pub out_index: usize,
}

/// `out[m] = ‖maps[m]‖`, so that whoever wants the sizes of maps need not keep or read the maps.
pub fn map_norms(recorder: &mut Recorder, op: MapNorms<'_>) -> Result<(), GpuError> {
    const OP: &str = "map_norms";
    expect::f32(OP, &[("maps", op.maps), ("row_sums", op.row_sums), ("out", op.out)])?;
    let [maps, rows, columns] = op.maps.shape().dims()[..] else {
        let expected = "[maps, rows, columns]".to_owned();
        return Err(GpuError::Shape { op: OP, operand: "maps", found: op.maps.shape(), expected });
    };
    expect::shape(OP, "row_sums", op.row_sums, &[maps, rows])?;
    expect::at_least(OP, "out", op.out, op.out_index + maps)?;
    let layout = RowLayout::of(&recorder.gpu);
    let steps = [
        (op.maps, op.row_sums, maps * rows, columns, 0, [("squares", 1), ("root", 0)]),
        (op.row_sums, op.out, maps, rows, op.out_index, [("squares", 0), ("root", 1)]),
    ];
    for (x, out, rows, columns, out_index, step) in steps {
        expect::iterations(OP, "a row", columns.div_ceil(layout.lanes as usize))?;
        let quads = in_quads(&[x]);
        let items = if quads { columns / 4 } else { columns };
        recorder.dispatch(
            &Kernel::new("map_norms", layout.options(quads, step)),
            &[(1, x), (2, out)],
            &[expect::index(OP, rows)?, expect::index(OP, items)?, expect::index(OP, out_index)?],
            layout.grid(rows),
        )?;
    }
    Ok(())
}
