//! Attention of one new token over a cache: step by step as the whole sequence at once.

use super::bench::Bench;
use crate::random::{Random, wide};
use crate::report::largest;
use crate::rounding::Rounding;
use retrograd_gpu::ops::{self, AttentionDecode};
use retrograd_gpu::{GpuError, Recorder};
use retrograd_reference::ops as reference;

/// T, D, H, capacity of the cache.
const CASES: [(usize, usize, usize, usize); 4] =
    [(1, 4, 1, 1), (9, 15, 3, 12), (37, 96, 2, 64), (70, 128, 2, 1024)];

pub(super) fn attention_decode(bench: &mut Bench) -> Result<(), GpuError> {
    for (t, d, h, capacity) in CASES {
        let gpu = bench.gpu;
        let qkv = Random::new(t as u64).values(t * 3 * d);
        let whole = reference::attention(&wide(&qkv), t, d, h, None).out;
        let (position, row) = (gpu.upload_u32([1], &[0])?, gpu.tensor([1, 3 * d])?);
        // What no token has filled yet must not be read.
        let cache = gpu.upload([capacity, 3 * d], &vec![f32::NAN; capacity * 3 * d])?;
        let scores = gpu.tensor([h, capacity])?;
        let keep: Vec<u32> = (0..h).map(|i| u32::from(i != 1)).collect();
        let keep_device = gpu.upload_u32([h], &keep)?;
        let (o, masked) = (gpu.tensor([1, d])?, gpu.tensor([1, d])?);
        let mut recorder = Recorder::new(gpu);
        let op = AttentionDecode {
            position: &position,
            qkv: &row,
            cache: &cache,
            scores: &scores,
            keep: None,
            o: &o,
        };
        ops::attention_decode(&mut recorder, op)?;
        let silenced = AttentionDecode { keep: Some(&keep_device), o: &masked, ..op };
        ops::attention_decode(&mut recorder, silenced)?;
        let pass = recorder.finish()?;
        let scores = Rounding::sum(d / h).exponential();
        let rounding = Rounding::sum(t).exponential().plus(scores.expected).of_at_least(largest(&whole));
        for step in 0..t {
            gpu.write_u32(&position, &[step as u32])?;
            gpu.write(&row, &qkv[step * 3 * d..][..3 * d])?;
            gpu.run(&pass)?;
            let wanted = &whole[step * d..][..d];
            let kept = |i: usize| f64::from(keep[i / (d / h)]);
            let silenced: Vec<f64> = wanted.iter().enumerate().map(|(i, &v)| v * kept(i)).collect();
            let case = format!("step {step} of {t}, D={d} H={h}");
            bench.compare(&case, &o, wanted, rounding)?;
            bench.compare(format!("{case}, heads silenced"), &masked, &silenced, rounding)?;
        }
    }
    Ok(())
}
