//! Softmax cross-entropy with the vocabulary in ranges.

use super::bench::Bench;
use crate::random::{Random, wide};
use crate::rounding::Rounding;
use retrograd_gpu::ops::{self, CrossEntropy};
use retrograd_gpu::{GpuError, Tensor};
use retrograd_reference::ops as reference;

/// (rows, where the ranges of the vocabulary end, largest logit)
type Case = (usize, &'static [usize], f32);

const CASES: [Case; 9] = [
    (1, &[1], 3.0),
    (1, &[7], 3.0),
    (3, &[4, 9], 3.0),
    (5, &[1, 2, 33], 3.0),
    (37, &[64, 97], 3.0),
    (2, &[1000, 2000, 2003], 3.0),
    (1, &[50_257], 3.0),
    (4, &[65, 129], 1e4),
    (33_000, &[3], 50.0),
];

/// Columns `first .. end` of `[rows, v]`.
fn columns<T: Copy>(x: &[T], v: usize, first: usize, end: usize) -> Vec<T> {
    x.chunks_exact(v).flat_map(|row| row[first..end].to_vec()).collect()
}

pub(super) fn cross_entropy(bench: &mut Bench) -> Result<(), GpuError> {
    for (rows, ends, magnitude) in CASES {
        let v = ends.last().copied().unwrap_or(0);
        let mut random = Random::new((rows * 1000 + v) as u64);
        let logits: Vec<f32> = random.values(rows * v).iter().map(|x| x * magnitude).collect();
        // First, last and any token, and in the second row the most probable one: a loss near 0.
        let targets: Vec<u32> = (0..rows)
            .map(|row| match row % 4 {
                0 => v - 1,
                1 => {
                    let row = &logits[row * v..][..v];
                    (0..v).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
                }
                2 => 0,
                _ => random.below(v),
            } as u32)
            .collect();
        let (mut parts, mut deltas, mut first): (Vec<Tensor>, Vec<Tensor>, usize) = (vec![], vec![], 0);
        for &end in ends {
            parts.push(bench.gpu.upload([rows, end - first], &columns(&logits, v, first, end))?);
            deltas.push(bench.gpu.tensor([rows, end - first])?);
            first = end;
        }
        let targets_device = bench.gpu.upload_u32([rows], &targets)?;
        let (row_loss, loss) = (bench.gpu.tensor([rows])?, bench.gpu.tensor([1])?);
        bench.run(|recorder| {
            let op = CrossEntropy {
                logits: &parts,
                targets: &targets_device,
                mean_over: rows,
                delta: &deltas,
                row_loss: &row_loss,
                loss: &loss,
            };
            ops::cross_entropy(recorder, op)
        })?;
        let wanted = reference::cross_entropy(&wide(&logits), &targets, rows, v);
        let case = format!("{rows} rows, vocabulary {ends:?}, logits to {magnitude}");
        // Relative to the logits that are subtracted, which are exact, or to log's own size.
        let rounding = Rounding::sum(v + rows).exponential().of_at_least(1.0);
        bench.compare(format!("loss of {case}"), &loss, &[wanted.loss], rounding)?;
        let mut first = 0;
        for (delta, &end) in deltas.iter().zip(ends) {
            let wanted = columns(&wanted.delta, v, first, end);
            // p and p − 1 have roundings of the size of 1, divided by the number of rows.
            let rounding = Rounding::sum(v).exponential().of_at_least(1.0 / rows as f64);
            bench.compare(format!("δ of {case}, to {end}"), delta, &wanted, rounding)?;
            first = end;
        }
    }
    Ok(())
}
