//! How much of a product an invocation and a workgroup compute, by the product's extents.

use super::gemm::{Form, GemmVariant};
use crate::SumOrder;
use std::fmt;
use std::str::FromStr;

/// Products of so few rows have nothing to hand round.
pub(super) const FEW_ROWS: usize = 4;

/// Rows and columns per invocation, invocations along a row, rows per workgroup.
#[derive(Clone, Copy)]
pub(super) struct RegisterTile {
    pub(super) rows: u32,
    pub(super) columns: u32,
    pub(super) width: u32,
    pub(super) group_rows: u32,
}

impl RegisterTile {
    pub(super) fn choose(
        variant: GemmVariant,
        subgroup: Option<u32>,
        form: Form,
        m: usize,
        image: bool,
    ) -> RegisterTile {
        match variant {
            // Texels cost little: the tile that is compiled fastest does for every form.
            GemmVariant::Image if image && m > FEW_ROWS => {
                let lanes = subgroup.unwrap_or(8);
                let rows = 16.max(lanes);
                RegisterTile { rows, columns: 8, width: lanes.max(8), group_rows: rows }
            }
            GemmVariant::Subgroup | GemmVariant::Image if m > FEW_ROWS => {
                // 128 outputs per invocation: beyond, the JIT takes seconds. Measured best on
                // lavapipe: 32×4 for NT; 16×8 for NN and TN, whose rows of B are farther apart, and
                // for few rows.
                let lanes = subgroup.unwrap_or(8);
                let rows = if form == Form::NT && m > 16 { 32 } else { 16 }.max(lanes);
                let columns = if form == Form::NT && m > 16 { 4 } else { 8 };
                RegisterTile { rows, columns, width: lanes.max(8), group_rows: rows }
            }
            // Few rows have nothing to hand round.
            _ => {
                // 8×8 measured best among plain register tiles on lavapipe; NT keeps one scalar per
                // output and has registers for half of it.
                let rows = match m {
                    1 => 1,
                    2..=4 => 4,
                    _ => 8,
                };
                let columns = match form {
                    Form::NT if image && m == 1 => 8,
                    Form::NT => 4,
                    // One row reads each row of B once: in longer stretches.
                    Form::NN | Form::TN if m == 1 => 16,
                    Form::NN | Form::TN => 8,
                };
                RegisterTile { rows, columns, width: 8, group_rows: rows }
            }
        }
    }
}

/// A tile of the workgroup variant; its `Display` is its name: `64x64/2`, two groups of invocations for 64 × 64 outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkgroupTile {
    /// Rows and columns of outputs of a workgroup, multiples of 32.
    pub(super) rows: u32,
    pub(super) columns: u32,
    /// Rows and columns of an invocation, multiples of 4.
    rows_each: u32,
    columns_each: u32,
    /// Depth of a slab along the inner extent: 16 for each group.
    depth: u32,
    /// Groups that share each slab along the inner extent.
    groups: u32,
}

impl WorkgroupTile {
    const fn new(
        [rows, columns]: [u32; 2],
        [rows_each, columns_each]: [u32; 2],
        depth: u32,
        groups: u32,
    ) -> Self {
        WorkgroupTile { rows, columns, rows_each, columns_each, depth, groups }
    }

    const LARGE: WorkgroupTile = WorkgroupTile::new([128, 128], [8, 8], 16, 1);
    const MIDDLE: WorkgroupTile = WorkgroupTile::new([64, 64], [8, 4], 16, 1);
    const MIDDLE_HALVES: WorkgroupTile = WorkgroupTile::new([64, 64], [8, 4], 32, 2);
    const WIDE_HALVES: WorkgroupTile = WorkgroupTile::new([32, 64], [4, 8], 32, 2);
    const MIDDLE_QUARTERS: WorkgroupTile = WorkgroupTile::new([64, 64], [8, 4], 64, 4);
    const SMALL_QUARTERS: WorkgroupTile = WorkgroupTile::new([32, 32], [4, 4], 64, 4);

    /// Every tile. All but `64x64/4` take at most 16 KiB of workgroup memory and 256 invocations, as the WebGPU default
    /// limits have it.
    pub const ALL: [WorkgroupTile; 6] = [
        WorkgroupTile::LARGE,
        WorkgroupTile::MIDDLE,
        WorkgroupTile::MIDDLE_HALVES,
        WorkgroupTile::WIDE_HALVES,
        WorkgroupTile::MIDDLE_QUARTERS,
        WorkgroupTile::SMALL_QUARTERS,
    ];

    /// Whether a device has workgroups so large.
    pub(crate) fn fits(self, limits: &wgpu::Limits) -> bool {
        let invocations = self.rows / self.rows_each * (self.columns / self.columns_each) * self.groups;
        invocations <= limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x)
            && 4 * self.depth * (self.rows + self.columns) <= limits.max_compute_workgroup_storage_size
    }

    /// The tile for a product of M × N × K, so many times, on a device that `has` it.
    ///
    /// The bounds are where the best tile changed on an H100, which runs 132 workgroups at a time, over GPT-2's products at
    /// 64 to 1024 tokens (docs/performance.md): large tiles load least, small ones and those in groups keep more of a GPU busy.
    pub(crate) fn choose(
        (m, n, k): (usize, usize, usize),
        maps: usize,
        order: SumOrder,
        has: impl Fn(WorkgroupTile) -> bool,
    ) -> WorkgroupTile {
        // Tiles of 64 × 64.
        let tiles = if m <= 32 { 0 } else { m.div_ceil(64) * n.div_ceil(64) * maps };
        match (order, tiles) {
            // The two that add up alike.
            (SumOrder::Alike, 256..) if has(WorkgroupTile::MIDDLE_QUARTERS) => WorkgroupTile::MIDDLE_QUARTERS,
            (SumOrder::Alike, _) | (SumOrder::Fastest, 0..160) => WorkgroupTile::SMALL_QUARTERS,
            // An attention map is short of columns, or of depth.
            (SumOrder::Fastest, 160..224) if maps > 1 => WorkgroupTile::SMALL_QUARTERS,
            (SumOrder::Fastest, 160..224) => WorkgroupTile::WIDE_HALVES,
            (SumOrder::Fastest, 224..400) => WorkgroupTile::MIDDLE_HALVES,
            (SumOrder::Fastest, 900..) if k > 64 => WorkgroupTile::LARGE,
            (SumOrder::Fastest, 400..) => WorkgroupTile::MIDDLE,
        }
    }

    /// Iterations of all loops for an inner extent of `k`, whatever the tile, at most: one for each slab, of 16 at least, and
    /// one for each four of it.
    pub(super) fn iterations(k: usize) -> usize {
        5 * k.div_ceil(16)
    }

    pub(super) fn options(self) -> [(&'static str, u32); 6] {
        [
            ("bm", self.rows),
            ("bn", self.columns),
            ("tm", self.rows_each),
            ("tn", self.columns_each),
            ("bk", self.depth),
            ("groups", self.groups),
        ]
    }
}

impl fmt::Display for WorkgroupTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WorkgroupTile { rows, columns, groups, .. } = self;
        write!(f, "{rows}x{columns}")?;
        if *groups > 1 { write!(f, "/{groups}") } else { Ok(()) }
    }
}

impl FromStr for WorkgroupTile {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        WorkgroupTile::ALL.into_iter().find(|tile| tile.to_string() == name).ok_or_else(|| {
            let names = WorkgroupTile::ALL.map(|tile| tile.to_string()).join(", ");
            format!("'{name}' is not a tile of the workgroup variant; choose from {names}")
        })
    }
}
