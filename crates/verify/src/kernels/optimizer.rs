//! The norm of all gradients with its clipping, and AdamW.

use super::bench::Bench;
use crate::random::{Random, wide};
use crate::report::largest;
use crate::rounding::Rounding;
use retrograd_gpu::ops::{self, AdamW, GlobalNorm};
use retrograd_gpu::{Gpu, GpuError, Tensor};
use retrograd_reference::ops as reference;

fn hyperparameters(gpu: &Gpu, step: u32, weight_decay: f32, max_norm: f32) -> Result<Tensor, GpuError> {
    let (beta1, beta2) = (0.9f64, 0.95f64);
    let values = [
        1e-3,
        0.9,
        0.95,
        1e-8,
        weight_decay,
        (1.0 - beta1.powi(step as i32)) as f32,
        (1.0 - beta2.powi(step as i32)).sqrt() as f32,
        max_norm,
    ];
    gpu.upload([ops::HYPERPARAMETERS], &values)
}

pub(super) fn global_norm(bench: &mut Bench) -> Result<(), GpuError> {
    for max_norm in [0.0f32, 1.0, 1e4] {
        for counts in [&[1][..], &[63, 64, 65], &[16_384, 16_385, 7], &[200_000, 3, 1], &[2_400_000]] {
            let mut random = Random::new(counts.iter().sum::<usize>() as u64);
            let (mut values, mut tensors) = (Vec::new(), Vec::new());
            for &count in counts {
                let (host, device) = random.tensor(bench.gpu, [count])?;
                values.push(wide(&host));
                tensors.push(device);
            }
            let hyper = hyperparameters(bench.gpu, 1, 0.0, max_norm)?;
            let norm = bench.gpu.tensor([2])?;
            bench.run(|recorder| {
                let op = GlobalNorm { gradients: &tensors, hyperparameters: &hyper, norm: &norm };
                ops::global_norm(recorder, op)
            })?;
            let slices: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
            let wanted = reference::global_norm(&slices);
            let clip = if max_norm > 0.0 { (f64::from(max_norm) / (wanted + 1e-6)).min(1.0) } else { 1.0 };
            let found = bench.gpu.read(&norm)?;
            let case = format!("norm of {counts:?}, at most {max_norm}");
            // Positive terms: a partial sum of n of N has n/N of the whole, each rounding less than it.
            let rounding = Rounding::sum(counts.iter().sum());
            bench.compare_values(&case, &found[..1], &[wanted], rounding);
            bench.compare_values(format!("{case}, its factor"), &found[1..], &[clip], rounding);
        }
    }
    Ok(())
}

pub(super) fn adamw(bench: &mut Bench) -> Result<(), GpuError> {
    for (count, decay) in [(1, true), (63, false), (65, true), (1000, true), (2_100_000, false)] {
        let mut random = Random::new(count as u64);
        let steps = if count > 10_000 { 2 } else { 10 };
        let (start, parameter) = random.tensor(bench.gpu, [count])?;
        let zeros = vec![0.0; count];
        let first_moment = bench.gpu.upload([count], &zeros)?;
        let second_moment = bench.gpu.upload([count], &zeros)?;
        let clip = 0.25f32;
        let norm = bench.gpu.upload([2], &[4.0, clip])?;
        let (mut w, mut m, mut v) = (wide(&start), wide(&zeros), wide(&zeros));
        for step in 1..=steps {
            let (gradient, gradient_device) = random.tensor(bench.gpu, [count])?;
            let hyper = hyperparameters(bench.gpu, step, 0.1, 1.0)?;
            bench.run(|recorder| {
                let op = AdamW {
                    parameter: &parameter,
                    gradient: &gradient_device,
                    first_moment: &first_moment,
                    second_moment: &second_moment,
                    norm: &norm,
                    hyperparameters: &hyper,
                    decay,
                };
                ops::adamw(recorder, op)
            })?;
            let gradient: Vec<f64> = gradient.iter().map(|g| f64::from(*g) * f64::from(clip)).collect();
            // The hyperparameters as they are in f32: their own rounding is not the kernel's error.
            let options = reference::AdamW {
                lr: f64::from(1e-3f32),
                beta1: f64::from(0.9f32),
                beta2: f64::from(0.95f32),
                eps: f64::from(1e-8f32),
                weight_decay: if decay { f64::from(0.1f32) } else { 0.0 },
                step,
            };
            reference::adamw_step(&mut w, &gradient, &mut m, &mut v, options);
        }
        // A handful of roundings a step; 1 − βᵗ from f64 β and f32 β differ by a few more.
        let rounding = Rounding::steps(8.0 * f64::from(steps));
        let of = format!("of {count} elements after {steps} steps");
        bench.compare(format!("w {of}"), &parameter, &w, rounding.of_at_least(largest(&w).max(1e-3)))?;
        bench.compare(format!("m {of}"), &first_moment, &m, rounding)?;
        bench.compare(format!("v {of}"), &second_moment, &v, rounding)?;
    }
    Ok(())
}
