//! Row softmax under the causal mask.

use super::bench::Bench;
use crate::random::{Random, wide};
use crate::rounding::Rounding;
use retrograd_gpu::GpuError;
use retrograd_gpu::ops;
use retrograd_reference::ops as reference;

/// (maps, T)
const SHAPES: [(usize, usize); 10] =
    [(1, 1), (3, 2), (2, 7), (5, 8), (1, 9), (4, 37), (2, 64), (3, 97), (1, 257), (1, 1024)];

pub(super) fn causal_softmax(bench: &mut Bench) -> Result<(), GpuError> {
    // Scores of ordinary size, and so far apart that each row has one winner.
    for magnitude in [3.0f32, 1e4] {
        for (maps, t) in SHAPES {
            let mut random = Random::new((maps * 1000 + t) as u64);
            let mut scores: Vec<f32> = random.values(maps * t * t).iter().map(|v| v * magnitude).collect();
            let wanted = reference::causal_softmax(&wide(&scores), maps, t);
            // What stands above the diagonal must not be read.
            for (i, score) in scores.iter_mut().enumerate().filter(|(i, _)| i % t > i / t % t) {
                *score = [f32::NAN, f32::INFINITY, 1e30][i % 3];
            }
            let device = bench.gpu.upload([maps, t, t], &scores)?;
            bench.run(|recorder| ops::causal_softmax(recorder, &device))?;
            let case = format!("{maps} maps of {t}×{t}, scores to {magnitude}");
            let found = bench.gpu.read(&device)?;
            bench.zero_above_diagonal(&case, &found, t);
            bench.compare_values(case, &found, &wanted, Rounding::sum(t).exponential());
        }
    }
    Ok(())
}
