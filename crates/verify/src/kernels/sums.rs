//! Sums over rows, and of whole tensors.

use super::bench::Bench;
use crate::random::{Random, wide};
use crate::rounding::Rounding;
use retrograd_gpu::GpuError;
use retrograd_gpu::ops::{self, ColumnSum, MapNorms, WeightedSum};
use retrograd_reference::ops as reference;

pub(super) fn weighted_sum(bench: &mut Bench) -> Result<(), GpuError> {
    for count in [1, 7, 63, 64, 65, 1000, 65_536, 65_537, 300_001] {
        let mut random = Random::new(count as u64);
        let (a, a_device) = random.tensor(bench.gpu, [count])?;
        let (b, b_device) = random.tensor(bench.gpu, [count])?;
        let out = bench.gpu.upload([3], &[7.0, 7.0, 7.0])?;
        bench.run(|recorder| {
            let op = WeightedSum { a: &a_device, b: Some(&b_device), scale: -0.5, out: &out, out_index: 0 };
            ops::weighted_sum(recorder, op)?;
            ops::weighted_sum(recorder, WeightedSum { b: None, out_index: 2, ..op })
        })?;
        let dot: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let sum: f64 = wide(&a).iter().sum();
        // Random signs: the partial sums, and so the roundings, have the size of √count.
        let rounding = Rounding::sum(count).of_at_least((count as f64).sqrt());
        bench.compare(format!("{count} terms"), &out, &[-0.5 * dot, 7.0, -0.5 * sum], rounding)?;
        let beside = bench.gpu.read(&out)?[1];
        bench.exactly(format!("{count} terms, the element beside"), &[beside], &[7.0]);
    }
    Ok(())
}

/// (rows, width, first column, columns): one chunk, several, several of several.
const COLUMNS: [(usize, usize, usize, usize); 7] = [
    (1, 1, 0, 1),
    (3, 5, 2, 3),
    (255, 64, 0, 64),
    (256, 65, 0, 65),
    (257, 97, 31, 33),
    (2048, 12, 4, 8),
    (66_000, 3, 1, 2),
];

pub(super) fn column_sum(bench: &mut Bench) -> Result<(), GpuError> {
    for (rows, width, first, columns) in COLUMNS {
        let (x, x_device) = Random::new(rows as u64).tensor(bench.gpu, [rows, width])?;
        let out = bench.gpu.tensor([columns])?;
        bench.run(|recorder| {
            ops::column_sum(recorder, ColumnSum { x: &x_device, first_column: first, out: &out })
        })?;
        let wanted = reference::column_sum(&wide(&x), rows, width);
        let rounding = Rounding::sum(rows).of_at_least((rows as f64 / 3.0).sqrt());
        let case = format!("columns {first} to {} of {rows}×{width}", first + columns - 1);
        bench.compare(case, &out, &wanted[first..first + columns], rounding)?;
    }
    Ok(())
}

pub(super) fn map_norms(bench: &mut Bench) -> Result<(), GpuError> {
    for (maps, rows, columns) in [(1, 1, 1), (3, 7, 5), (5, 9, 9), (2, 64, 64), (12, 65, 33), (2, 1024, 1024)]
    {
        let (x, x_device) = Random::new(columns as u64).tensor(bench.gpu, [maps, rows, columns])?;
        let row_sums = bench.gpu.tensor([maps, rows])?;
        let out = bench.gpu.upload([maps + 2], &vec![7.0; maps + 2])?;
        bench.run(|recorder| {
            ops::map_norms(
                recorder,
                MapNorms { maps: &x_device, row_sums: &row_sums, out: &out, out_index: 1 },
            )
        })?;
        let norm = |map: &[f64]| map.iter().map(|v| v * v).sum::<f64>().sqrt();
        let norms = wide(&x).chunks_exact(rows * columns).map(norm).collect::<Vec<_>>();
        let wanted: Vec<f64> = [7.0].into_iter().chain(norms).chain([7.0]).collect();
        // Positive terms: the partial sums grow with the count; the root halves the error.
        let case = format!("{maps} maps of {rows}×{columns}");
        bench.compare(case, &out, &wanted, Rounding::sum(rows + columns))?;
    }
    Ok(())
}
