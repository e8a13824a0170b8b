//! What training adds: sums over rows, the norm of all gradients, AdamW.

use super::check::{larger, relative_error, relative_to, rounding};
use super::values::{values, wide};
use super::{At, Case, Prepared};
use crate::BenchError;
use retrograd_gpu::ops::{AdamW, ColumnSum, GlobalNorm, adamw, column_sum, global_norm};
use retrograd_gpu::{Gpu, Recorder, Tensor};
use retrograd_reference::ops as reference;

pub(super) fn cases(at: &At) -> Vec<Case> {
    let At { length: t, d, i, .. } = *at;
    let weights = 4 * d * i;
    let shape = format!("{d}×{i}");
    vec![
        at.case(
            "column_sum",
            "bias gradient of attn.c_attn",
            format!("{t}×{}", 3 * d),
            12 * t * d,
            move |gpu| columns(gpu, t, 3 * d),
        ),
        at.case("global_norm", "gradient of mlp.c_fc", shape.clone(), weights, move |gpu| norm(gpu, d, i)),
        // Parameter, gradient and two moments read; all but the gradient written.
        at.case("adamw", "mlp.c_fc", shape, 7 * weights, move |gpu| step(gpu, d, i)),
    ]
}

/// Learning rate, β₁, β₂, ε, weight decay, 1 − β₁, √(1 − β₂), no clipping: the first step.
fn hyperparameters(gpu: &Gpu) -> Result<Tensor, BenchError> {
    let (beta1, beta2) = (0.9f32, 0.95f32);
    Ok(gpu.upload([8], &[1e-3, beta1, beta2, 1e-8, 0.1, 1.0 - beta1, (1.0 - beta2).sqrt(), 0.0])?)
}

fn columns(gpu: &Gpu, rows: usize, width: usize) -> Result<Prepared, BenchError> {
    let x = values(rows * width, 0);
    let (x_device, out) = (gpu.upload([rows, width], &x)?, gpu.tensor([width])?);
    let mut recorder = Recorder::new(gpu);
    column_sum(&mut recorder, ColumnSum { x: &x_device, first_column: 0, out: &out })?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let wanted = reference::column_sum(&wide(&x), rows, width);
    let error = relative_to((rows as f64).sqrt(), &gpu.read(&out)?, &wanted);
    Ok(Prepared { pass, error, bound: rounding(rows) })
}

fn norm(gpu: &Gpu, d: usize, i: usize) -> Result<Prepared, BenchError> {
    let gradient = values(d * i, 0);
    let gradients = [gpu.upload([d, i], &gradient)?];
    let (hyperparameters, norm) = (hyperparameters(gpu)?, gpu.tensor([2])?);
    let mut recorder = Recorder::new(gpu);
    global_norm(
        &mut recorder,
        GlobalNorm { gradients: &gradients, hyperparameters: &hyperparameters, norm: &norm },
    )?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let wanted = reference::global_norm(&[&wide(&gradient)]);
    let error = relative_error(&gpu.read(&norm)?[..1], &[wanted]);
    Ok(Prepared { pass, error, bound: rounding(d * i) })
}

fn step(gpu: &Gpu, d: usize, i: usize) -> Result<Prepared, BenchError> {
    let (weight, gradient) = (values(d * i, 0), values(d * i, 31));
    let zeros = vec![0.0; d * i];
    let parameter = gpu.upload([d, i], &weight)?;
    let gradient_device = gpu.upload([d, i], &gradient)?;
    let (first, second) = (gpu.upload([d, i], &zeros)?, gpu.upload([d, i], &zeros)?);
    let (hyperparameters, norm) = (hyperparameters(gpu)?, gpu.upload([2], &[1.0, 1.0])?);
    let mut recorder = Recorder::new(gpu);
    adamw(
        &mut recorder,
        AdamW {
            parameter: &parameter,
            gradient: &gradient_device,
            first_moment: &first,
            second_moment: &second,
            norm: &norm,
            hyperparameters: &hyperparameters,
            decay: true,
        },
    )?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let (mut wanted, mut m, mut v) = (wide(&weight), wide(&zeros), wide(&zeros));
    let f = |value: f32| f64::from(value);
    let options = reference::AdamW {
        lr: f(1e-3),
        beta1: f(0.9),
        beta2: f(0.95),
        eps: f(1e-8),
        weight_decay: f(0.1),
        step: 1,
    };
    reference::adamw_step(&mut wanted, &wide(&gradient), &mut m, &mut v, options);
    let error = larger(
        relative_error(&gpu.read(&parameter)?, &wanted),
        larger(relative_error(&gpu.read(&first)?, &m), relative_error(&gpu.read(&second)?, &v)),
    );
    Ok(Prepared { pass, error, bound: rounding(1) })
}
