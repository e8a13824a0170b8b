//! Sums over rows, the global norm with its clipping, and AdamW, against f64.

mod harness;

use harness::{ROUNDING, Random, assert_close, assert_close_at, gpu, largest, run, wide};
use retrograd_gpu::Tensor;
use retrograd_gpu::ops::{AdamW, ColumnSum, GlobalNorm, adamw, column_sum, global_norm};
use retrograd_reference::ops as reference;

/// Sums of `terms` numbers; four standard deviations.
fn bound(terms: usize) -> f64 {
    4.0 * ((terms + 16) as f64).sqrt() * ROUNDING
}

#[test]
fn sums_over_any_number_of_rows() {
    let gpu = gpu();
    // (rows, width, first column, columns): one chunk, several, several of several.
    for (rows, width, first, columns) in [
        (1, 1, 0, 1),
        (3, 5, 2, 3),
        (255, 64, 0, 64),
        (256, 65, 0, 65),
        (257, 97, 31, 33),
        (2048, 12, 4, 8),
        (66_000, 3, 1, 2),
    ] {
        let mut random = Random::new(rows as u64);
        let (x, x_device) = random.tensor(gpu, [rows, width]);
        let out = gpu.tensor([columns]).unwrap();
        run(gpu, |recorder| {
            column_sum(recorder, ColumnSum { x: &x_device, first_column: first, out: &out }).unwrap();
        });
        let wanted = reference::column_sum(&wide(&x), rows, width);
        let wanted = &wanted[first..first + columns];
        let scale = largest(wanted).max((rows as f64 / 3.0).sqrt());
        let what = format!("columns {first}..{} of {rows}×{width}", first + columns);
        assert_close_at(&what, &gpu.read(&out).unwrap(), wanted, bound(rows), scale);
    }
}

fn hyperparameters(gpu: &retrograd_gpu::Gpu, step: u32, weight_decay: f32, max_norm: f32) -> Tensor {
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
    gpu.upload([8], &values).unwrap()
}

#[test]
fn global_norm_clips_as_torch_does() {
    let gpu = gpu();
    for max_norm in [0.0f32, 1.0, 1e4] {
        for counts in [&[1][..], &[63, 64, 65], &[16_384, 16_385, 7], &[200_000, 3, 1]] {
            let mut random = Random::new(counts.iter().sum::<usize>() as u64);
            let (values, tensors): (Vec<Vec<f32>>, Vec<Tensor>) =
                counts.iter().map(|&count| random.tensor(gpu, [count])).unzip();
            let hyper = hyperparameters(gpu, 1, 0.0, max_norm);
            let norm = gpu.tensor([2]).unwrap();
            run(gpu, |recorder| {
                let op = GlobalNorm { gradients: &tensors, hyperparameters: &hyper, norm: &norm };
                global_norm(recorder, op).unwrap();
            });
            let values: Vec<Vec<f64>> = values.iter().map(|v| wide(v)).collect();
            let slices: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
            let wanted = reference::global_norm(&slices);
            let clip = if max_norm > 0.0 { (f64::from(max_norm) / (wanted + 1e-6)).min(1.0) } else { 1.0 };
            let found = gpu.read(&norm).unwrap();
            let what = format!("norm of {counts:?}, at most {max_norm}");
            // Positive terms: a partial sum of n of N has n/N of the whole, each rounding less than it.
            let bound = bound(counts.iter().sum());
            assert_close(&what, &found[..1], &[wanted], bound);
            assert_close(&what, &found[1..], &[clip], bound);
        }
    }
}

#[test]
fn ten_steps_of_adamw() {
    let gpu = gpu();
    for (count, decay) in [(1, true), (63, false), (65, true), (1000, true), (2_100_000, false)] {
        let mut random = Random::new(count as u64);
        let steps = if count > 10_000 { 2 } else { 10 };
        let (start, parameter) = random.tensor(gpu, [count]);
        let zeros = vec![0.0; count];
        let first_moment = gpu.upload([count], &zeros).unwrap();
        let second_moment = gpu.upload([count], &zeros).unwrap();
        let clip = 0.25f32;
        let norm = gpu.upload([2], &[4.0, clip]).unwrap();
        let (mut w, mut m, mut v) = (wide(&start), wide(&zeros), wide(&zeros));
        for step in 1..=steps {
            let (gradient, gradient_device) = random.tensor(gpu, [count]);
            let hyper = hyperparameters(gpu, step, 0.1, 1.0);
            run(gpu, |recorder| {
                let op = AdamW {
                    parameter: &parameter,
                    gradient: &gradient_device,
                    first_moment: &first_moment,
                    second_moment: &second_moment,
                    norm: &norm,
                    hyperparameters: &hyper,
                    decay,
                };
                adamw(recorder, op).unwrap();
            });
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
        let what = |name: &str| format!("{name} of {count} after {steps} steps, decay={decay}");
        // A handful of roundings a step; 1 − βᵗ from f64 β and f32 β differ by a few more.
        let bound = 8.0 * f64::from(steps) * ROUNDING;
        let scale = largest(&w).max(1e-3);
        assert_close_at(&what("w"), &gpu.read(&parameter).unwrap(), &w, bound, scale);
        assert_close(&what("m"), &gpu.read(&first_moment).unwrap(), &m, bound);
        assert_close(&what("v"), &gpu.read(&second_moment).unwrap(), &v, bound);
    }
}
