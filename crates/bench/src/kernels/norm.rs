//! Layer norms.

use super::check::{larger, relative_error, relative_to, rounding};
use super::values::{values, wide};
use super::{At, Case, Prepared};
use crate::BenchError;
use retrograd_gpu::ops::{
    LayerNorm, LayerNormBackward, LayerNormGrad, layer_norm, layer_norm_backward, layer_norm_grad,
};
use retrograd_gpu::{Gpu, Recorder};
use retrograd_reference::ops as reference;

const EPSILON: f32 = 1e-5;

pub(super) fn cases(at: &At) -> Vec<Case> {
    let At { length: t, d, .. } = *at;
    let rows = 4 * t * d;
    let shape = || format!("{t}×{d}");
    vec![
        at.case("layer_norm", "ln_1, ln_2", shape(), 2 * rows, move |gpu| norm(gpu, t, d, Part::Forward)),
        at.case("layer_norm_backward", "ln_1, ln_2, with δ added", shape(), 4 * rows, move |gpu| {
            norm(gpu, t, d, Part::Backward)
        }),
        at.case("layer_norm_grad", "∂γ and ∂β", shape(), 2 * rows, move |gpu| {
            norm(gpu, t, d, Part::Grad)
        }),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Forward,
    Backward,
    Grad,
}

/// The backward kernels read the statistics that the forward kernel left.
fn norm(gpu: &Gpu, t: usize, d: usize, part: Part) -> Result<Prepared, BenchError> {
    let (x, dy, upstream) = (values(t * d, 0), values(t * d, 31), values(t * d, 67));
    let (gamma, beta) = (values(d, 3), values(d, 5));
    let (x_device, dy_device) = (gpu.upload([t, d], &x)?, gpu.upload([t, d], &dy)?);
    let upstream_device = gpu.upload([t, d], &upstream)?;
    let (gamma_device, beta_device) = (gpu.upload([d], &gamma)?, gpu.upload([d], &beta)?);
    let (y, stats) = (gpu.tensor([t, d])?, gpu.tensor([t, 2])?);
    let (dx, d_gamma_beta) = (gpu.tensor([t, d])?, gpu.tensor([2, d])?);
    let forward = LayerNorm {
        x: &x_device,
        x_row: 0,
        gamma: &gamma_device,
        beta: &beta_device,
        epsilon: EPSILON,
        y: &y,
        stats: &stats,
    };
    let mut recorder = Recorder::new(gpu);
    layer_norm(&mut recorder, forward)?;
    let before = recorder.finish()?;
    gpu.run(&before)?;

    let mut recorder = Recorder::new(gpu);
    match part {
        Part::Forward => layer_norm(&mut recorder, forward)?,
        Part::Backward => layer_norm_backward(
            &mut recorder,
            LayerNormBackward {
                dy: &dy_device,
                x: &x_device,
                x_row: 0,
                gamma: &gamma_device,
                stats: &stats,
                upstream: Some(&upstream_device),
                dx: &dx,
            },
        )?,
        Part::Grad => layer_norm_grad(
            &mut recorder,
            LayerNormGrad {
                dy: &dy_device,
                x: &x_device,
                x_row: 0,
                stats: &stats,
                d_gamma_beta: &d_gamma_beta,
            },
        )?,
    }
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let (x, dy, gamma) = (wide(&x), wide(&dy), wide(&gamma));
    let wanted = reference::layer_norm(&x, &gamma, &wide(&beta), t, d, f64::from(EPSILON));
    if part == Part::Forward {
        let error = relative_error(&gpu.read(&y)?, &wanted.y);
        return Ok(Prepared { pass, error, bound: rounding(d) });
    }
    let grad = reference::layer_norm_backward(&dy, &x, &gamma, &wanted.mean, &wanted.rstd, t, d);
    if part == Part::Backward {
        let dx_wanted: Vec<f64> = grad.dx.iter().zip(wide(&upstream)).map(|(a, b)| a + b).collect();
        let error = relative_error(&gpu.read(&dx)?, &dx_wanted);
        return Ok(Prepared { pass, error, bound: rounding(d) });
    }
    let found = gpu.read(&d_gamma_beta)?;
    // Sums of T terms of about 1.
    let scale = (t as f64).sqrt();
    let error =
        larger(relative_to(scale, &found[..d], &grad.dgamma), relative_to(scale, &found[d..], &grad.dbeta));
    Ok(Prepared { pass, error, bound: rounding(t) + rounding(d) })
}
