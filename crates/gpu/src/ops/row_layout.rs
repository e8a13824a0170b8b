//! How row-wise kernels divide rows among invocations. Shader side: `shaders/row_reduce.wgsl`.

use super::expect::GRID_ROWS;
use crate::{Gpu, Tensor};

/// Rows to a workgroup where each belongs to one subgroup: a software driver starts a workgroup in
/// about the time that a row of a hundred elements takes.
const GROUP_ROWS: u32 = 8;

/// Invocations to a row, rows to a workgroup, and how a row is reduced.
pub(crate) struct RowLayout {
    pub(crate) lanes: u32,
    rows: u32,
    subgroup: bool,
}

impl RowLayout {
    pub(crate) fn of(gpu: &Gpu) -> Self {
        let capabilities = gpu.capabilities();
        let lanes = capabilities.row_lanes;
        let subgroup = capabilities.subgroup == Some(lanes);
        RowLayout { lanes, rows: if subgroup { GROUP_ROWS } else { 1 }, subgroup }
    }

    /// The same for rows of a vocabulary's length: four times as many invocations on a GPU.
    pub(crate) fn long(gpu: &Gpu) -> Self {
        let layout = RowLayout::of(gpu);
        let times = if gpu.capabilities().reduces_as_on_a_gpu() { 4 } else { 1 };
        RowLayout { lanes: times * layout.lanes, ..layout }
    }

    /// One row to a workgroup.
    pub(crate) fn single(gpu: &Gpu) -> Self {
        RowLayout { rows: 1, ..RowLayout::of(gpu) }
    }

    /// Template variables; `quads` where four neighbours are loaded at a time.
    pub(crate) fn options<const N: usize>(
        &self,
        quads: bool,
        more: [(&'static str, u32); N],
    ) -> Vec<(&'static str, u32)> {
        let mut options = vec![
            ("lanes", self.lanes),
            ("rows", self.rows),
            ("subgroup", self.subgroup.into()),
            ("quads", quads.into()),
        ];
        options.extend(more);
        options
    }

    /// Workgroups for so many rows.
    pub(crate) fn groups(&self, rows: usize) -> usize {
        rows.div_ceil(self.rows as usize)
    }

    /// Grid for so many rows: in x, from 32,768 groups on in y too.
    pub(crate) fn grid(&self, rows: usize) -> [u32; 3] {
        let groups = self.groups(rows);
        [groups.min(GRID_ROWS) as u32, groups.div_ceil(GRID_ROWS) as u32, 1]
    }
}

/// Whether rows of all these tensors can be read four neighbours at a time.
pub(crate) fn in_quads(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|tensor| tensor.shape().columns().is_multiple_of(4))
}
