//! Matrices from buffers into images and back, where the device's products read those.

use super::bench::Bench;
use crate::random::{Random, to_f16};
use retrograd_gpu::ops::{Matrix, Pack, Unpack, pack, unpack};
use retrograd_gpu::{Dtype, GpuError};

/// (rows, columns, first row): rows of whole and of parts of quads, rows that begin anywhere.
const CASES: [(usize, usize, usize); 6] =
    [(1, 4, 0), (3, 64, 0), (5, 7, 2), (33, 96, 1), (129, 130, 7), (1000, 768, 24)];

pub(super) fn pack_and_unpack(bench: &mut Bench) -> Result<(), GpuError> {
    for (rows, columns, first_row) in CASES {
        for dtype in [Dtype::F32, Dtype::F16] {
            let image = bench.gpu.allocate_operand([first_row + rows, columns], dtype)?;
            if !image.is_image() {
                continue;
            }
            let values = Random::new((rows * 1000 + columns) as u64).values(rows * columns);
            let (bits, rounded) = to_f16(&values);
            let (source, wanted) = match dtype {
                Dtype::F16 => (bench.gpu.upload_f16([rows, columns], &bits)?, rounded),
                _ => (bench.gpu.upload([rows, columns], &values)?, values),
            };
            let out = bench.gpu.tensor([rows, columns])?;
            bench.run(|recorder| {
                pack(recorder, Pack { source: Matrix::of(&source), image: &image, first_row })?;
                unpack(recorder, Unpack { image: &image, first_row, out: &out })
            })?;
            let found = bench.gpu.read(&out)?;
            bench.exactly(format!("{rows}×{columns} {dtype:?} at row {first_row}"), &found, &wanted);
        }
    }
    Ok(())
}
