//! What touches each element once: patches, silenced heads.

use super::bench::Bench;
use crate::random::Random;
use crate::rounding::Rounding;
use retrograd_gpu::GpuError;
use retrograd_gpu::ops::{self, AddScaled, ZeroColumns};

pub(super) fn add_scaled(bench: &mut Bench) -> Result<(), GpuError> {
    for count in [1, 3, 4, 65, 1000, 2_100_001] {
        let mut random = Random::new(count as u64);
        let (a, a_device) = random.tensor(bench.gpu, [count])?;
        let (b, b_device) = random.tensor(bench.gpu, [count])?;
        let out = bench.gpu.tensor([count])?;
        let scale = -1.75f32;
        bench.run(|recorder| {
            ops::add_scaled(recorder, AddScaled { a: &a_device, b: &b_device, scale, out: &out })
        })?;
        let wanted: Vec<f64> =
            a.iter().zip(&b).map(|(a, b)| f64::from(*a) + f64::from(scale) * f64::from(*b)).collect();
        // A product and a sum, each of numbers up to 2.75.
        let rounding = Rounding::steps(2.0).of_at_least(2.75);
        bench.compare(format!("{count} elements"), &out, &wanted, rounding)?;
    }
    Ok(())
}

pub(super) fn zero_columns(bench: &mut Bench) -> Result<(), GpuError> {
    for (rows, d, heads) in [(1, 4, 4), (3, 15, 3), (70, 96, 2), (1024, 1600, 25)] {
        let (x, x_device) = Random::new(rows as u64).tensor(bench.gpu, [rows, d])?;
        let keep: Vec<u32> = (0..heads).map(|i| (i % 2) as u32).collect();
        let keep_device = bench.gpu.upload_u32([heads], &keep)?;
        let out = bench.gpu.tensor([rows, d])?;
        bench.run(|recorder| {
            ops::zero_columns(recorder, ZeroColumns { x: &x_device, keep: &keep_device, out: &out })
        })?;
        let kept = |i: usize| keep[i % d / (d / heads)] == 1;
        let wanted: Vec<f32> = x.iter().enumerate().map(|(i, &v)| if kept(i) { v } else { 0.0 }).collect();
        let found = bench.gpu.read(&out)?;
        bench.exactly(format!("{rows}×{d}, {heads} heads"), &found, &wanted);
    }
    Ok(())
}
