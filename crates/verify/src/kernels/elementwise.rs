//! What touches each element once: differences, patches, silenced heads, products by head.

use super::bench::Bench;
use crate::random::Random;
use crate::rounding::Rounding;
use retrograd_gpu::GpuError;
use retrograd_gpu::ops::{self, AddScaled, HeadProducts, PatchAttention, ReplaceHeads};

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

/// (sequences, T, H): items of one element and of four.
const PATCHES: [(usize, usize, usize); 5] = [(1, 1, 1), (3, 5, 3), (2, 8, 2), (4, 33, 1), (2, 512, 5)];

pub(super) fn patch_attention(bench: &mut Bench) -> Result<(), GpuError> {
    for (batch, t, h) in PATCHES {
        let mut random = Random::new((batch * t) as u64);
        let (a, pattern) = random.tensor(bench.gpu, [batch * h, t, t])?;
        let (m, map) = random.tensor(bench.gpu, [h, t, t])?;
        let (factors, alpha) = random.tensor(bench.gpu, [batch])?;
        let out = bench.gpu.tensor([batch * h, t, t])?;
        bench.run(|recorder| {
            let op = PatchAttention { pattern: &pattern, map: &map, alpha: &alpha, out: &out };
            ops::patch_attention(recorder, op)
        })?;
        let patched = |(i, a): (usize, &f32)| {
            f64::from(*a) + f64::from(factors[i / m.len()]) * f64::from(m[i % m.len()])
        };
        let wanted: Vec<f64> = a.iter().enumerate().map(patched).collect();
        // A product and a sum, each of numbers up to 2.
        let rounding = Rounding::steps(2.0).of_at_least(2.0);
        bench.compare(format!("{batch} sequences, {h} maps of {t}×{t}"), &out, &wanted, rounding)?;
    }
    Ok(())
}

/// (sequences, T, D, H, first position)
const REPLACED: [(usize, usize, usize, usize, usize); 5] =
    [(1, 1, 4, 4, 0), (1, 3, 15, 3, 2), (3, 23, 96, 2, 0), (5, 7, 12, 3, 6), (1, 1024, 1600, 25, 0)];

pub(super) fn replace_heads(bench: &mut Bench) -> Result<(), GpuError> {
    for (batch, t, d, heads, first_position) in REPLACED {
        let mut random = Random::new((batch * t) as u64);
        let (x, x_device) = random.tensor(bench.gpu, [batch * t, d])?;
        let (fill, fill_device) = random.tensor(bench.gpu, [batch, d])?;
        let replaced: Vec<u32> = (0..batch * heads).map(|_| random.below(2) as u32).collect();
        let replaced_device = bench.gpu.upload_u32([batch, heads], &replaced)?;
        let (zeroed, filled) = (bench.gpu.tensor([batch * t, d])?, bench.gpu.tensor([batch * t, d])?);
        bench.run(|recorder| {
            for (fill, out) in [(None, &zeroed), (Some(&fill_device), &filled)] {
                let (x, replaced) = (&x_device, &replaced_device);
                ops::replace_heads(recorder, ReplaceHeads { x, replaced, fill, first_position, out })?;
            }
            Ok(())
        })?;
        let expected = |fill: &dyn Fn(usize) -> f32| -> Vec<f32> {
            let value = |(i, &v): (usize, &f32)| {
                let (row, column) = (i / d, i % d);
                let (sequence, position) = (row / t, row % t);
                let replaced = replaced[sequence * heads + column / (d / heads)] == 1;
                if replaced && position >= first_position { fill(sequence * d + column) } else { v }
            };
            x.iter().enumerate().map(value).collect()
        };
        let case = format!("{batch} sequences of {t}×{d}, {heads} heads, from position {first_position}");
        bench.exactly(format!("{case}: silenced"), &bench.gpu.read(&zeroed)?, &expected(&|_| 0.0));
        bench.exactly(format!("{case}: replaced"), &bench.gpu.read(&filled)?, &expected(&|at| fill[at]));
    }
    Ok(())
}

/// (sequences, T, D, H)
const PRODUCTS: [(usize, usize, usize, usize); 5] =
    [(1, 1, 1, 1), (3, 5, 15, 3), (2, 9, 24, 2), (7, 33, 96, 1), (1, 1024, 1600, 25)];

pub(super) fn head_products(bench: &mut Bench) -> Result<(), GpuError> {
    for (batch, t, d, heads) in PRODUCTS {
        let mut random = Random::new((batch * t) as u64);
        let (a, a_device) = random.tensor(bench.gpu, [batch * t, d])?;
        let (b, b_device) = random.tensor(bench.gpu, [batch * t, d])?;
        let out = bench.gpu.upload([batch * heads + 2], &vec![7.0; batch * heads + 2])?;
        bench.run(|recorder| {
            let op = HeadProducts { a: &a_device, b: &b_device, batch, heads, out: &out, out_index: 1 };
            ops::head_products(recorder, op)
        })?;
        let mut wanted = vec![0.0; batch * heads];
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            wanted[i / d / t * heads + i % d / (d / heads)] += f64::from(*a) * f64::from(*b);
        }
        let wanted: Vec<f64> = [7.0].into_iter().chain(wanted).chain([7.0]).collect();
        // Random signs: the partial sums, and so the roundings, have the size of √count.
        let count = t * d / heads;
        let rounding = Rounding::sum(count).of_at_least((count as f64).sqrt());
        bench.compare(format!("{batch} sequences of {t}×{d}, {heads} heads"), &out, &wanted, rounding)?;
    }
    Ok(())
}
