//! LayerNorm, forward and backward, against f64.

mod harness;

use harness::{ROUNDING, Random, assert_close, assert_close_at, gpu, largest, run, wide};
use retrograd_gpu::ops::{
    LayerNorm, LayerNormBackward, LayerNormGrad, layer_norm, layer_norm_backward, layer_norm_grad,
};
use retrograd_reference::ops as reference;

const EPSILON: f32 = 1e-5;

/// Sums of D terms, a few roundings around them, four standard deviations.
fn bound(terms: usize) -> f64 {
    4.0 * ((terms + 16) as f64).sqrt() * ROUNDING
}

/// One row up to many; widths off the lanes; more rows than one grid dimension holds in `row_grid`.
const SHAPES: [(usize, usize); 12] = [
    (1, 1),
    (1, 3),
    (3, 4),
    (5, 7),
    (7, 8),
    (9, 31),
    (2, 64),
    (65, 65),
    (3, 97),
    (4, 768),
    (2, 1600),
    (33_000, 5),
];

#[test]
fn forward_and_backward() {
    let gpu = gpu();
    for (rows, d) in SHAPES {
        let what = |name: &str| format!("{name} {rows}×{d}");
        let mut random = Random::new((rows * 10_000 + d) as u64);
        // Rows of x before the first that is normalised.
        let x_row = rows % 3;
        let (x, x_device) = random.tensor(gpu, [rows + x_row, d]);
        let (gamma, gamma_device) = random.tensor(gpu, [d]);
        let (beta, beta_device) = random.tensor(gpu, [d]);
        let (dy, dy_device) = random.tensor(gpu, [rows, d]);
        let (upstream, upstream_device) = random.tensor(gpu, [rows + x_row, d]);
        let (before, dx_device) = random.tensor(gpu, [rows + x_row, d]);
        let dx_alone = gpu.upload([rows + x_row, d], &before).unwrap();
        let (y, stats) = (gpu.tensor([rows, d]).unwrap(), gpu.tensor([rows, 2]).unwrap());
        let d_gamma_beta = gpu.tensor([2, d]).unwrap();
        run(gpu, |recorder| {
            let forward = LayerNorm {
                x: &x_device,
                x_row,
                gamma: &gamma_device,
                beta: &beta_device,
                epsilon: EPSILON,
                y: &y,
                stats: &stats,
            };
            layer_norm(recorder, forward).unwrap();
            let backward = LayerNormBackward {
                dy: &dy_device,
                x: &x_device,
                x_row,
                gamma: &gamma_device,
                stats: &stats,
                upstream: Some(&upstream_device),
                dx: &dx_device,
            };
            layer_norm_backward(recorder, backward).unwrap();
            let alone = LayerNormBackward { upstream: None, dx: &dx_alone, ..backward };
            layer_norm_backward(recorder, alone).unwrap();
            let grad = LayerNormGrad {
                dy: &dy_device,
                x: &x_device,
                x_row,
                stats: &stats,
                d_gamma_beta: &d_gamma_beta,
            };
            layer_norm_grad(recorder, grad).unwrap();
        });

        let x = wide(&x[x_row * d..]);
        let forward = reference::layer_norm(&x, &wide(&gamma), &wide(&beta), rows, d, f64::from(EPSILON));
        assert_close(&what("y"), &gpu.read(&y).unwrap(), &forward.y, bound(d));
        let stats = gpu.read(&stats).unwrap();
        let (mean, rstd): (Vec<f32>, Vec<f32>) = stats.chunks_exact(2).map(|s| (s[0], s[1])).unzip();
        // The mean of numbers up to 1, whose own size may be small by accident.
        assert_close_at(&what("mean"), &mean, &forward.mean, bound(d), 1.0);
        assert_close(&what("1/σ"), &rstd, &forward.rstd, bound(d));

        let backward = reference::layer_norm_backward(
            &wide(&dy),
            &x,
            &wide(&gamma),
            &forward.mean,
            &forward.rstd,
            rows,
            d,
        );
        // h up to 1 is divided by σ before it is cancelled by its mean (wholly, for D = 1).
        let scale = largest(&forward.rstd);
        let found = gpu.read(&dx_alone).unwrap();
        assert_eq!(found[..x_row * d], before[..x_row * d], "{}", what("rows before the first"));
        assert_close_at(&what("dx"), &found[x_row * d..], &backward.dx, bound(d), scale);
        let with_upstream: Vec<f64> =
            backward.dx.iter().zip(&upstream[x_row * d..]).map(|(dx, u)| dx + f64::from(*u)).collect();
        let found = gpu.read(&dx_device).unwrap();
        assert_eq!(found[..x_row * d], before[..x_row * d], "{}", what("rows before the first"));
        assert_close_at(&what("dx + upstream"), &found[x_row * d..], &with_upstream, bound(d), scale);

        // Sums over rows: of dy·x̂ with x̂ ~ 1 (0 for D = 1), and of dy.
        let wanted: Vec<f64> = backward.dgamma.iter().chain(&backward.dbeta).copied().collect();
        let scale = largest(&wanted).max((rows as f64 / 3.0).sqrt());
        let found = gpu.read(&d_gamma_beta).unwrap();
        assert_close_at(&what("∂γ, ∂β"), &found, &wanted, bound(rows) + bound(d), scale);
    }
}

/// A residual stream far from 0: E[x²] − E[x]² would lose every digit of a variance of 1/3 beside
/// 10⁶, two passes lose those of the mean alone.
#[test]
fn large_offsets_keep_the_variance() {
    let gpu = gpu();
    let (rows, d, offset) = (9, 768, 1000.0f32);
    let mut random = Random::new(5);
    let x: Vec<f32> = random.values(rows * d).iter().map(|v| v + offset).collect();
    let (gamma, gamma_device) = random.tensor(gpu, [d]);
    let (beta, beta_device) = random.tensor(gpu, [d]);
    let (dy, dy_device) = random.tensor(gpu, [rows, d]);
    let x_device = gpu.upload([rows, d], &x).unwrap();
    let (y, stats, dx) =
        (gpu.tensor([rows, d]).unwrap(), gpu.tensor([rows, 2]).unwrap(), gpu.tensor([rows, d]).unwrap());
    run(gpu, |recorder| {
        let forward = LayerNorm {
            x: &x_device,
            x_row: 0,
            gamma: &gamma_device,
            beta: &beta_device,
            epsilon: EPSILON,
            y: &y,
            stats: &stats,
        };
        layer_norm(recorder, forward).unwrap();
        let backward = LayerNormBackward {
            dy: &dy_device,
            x: &x_device,
            x_row: 0,
            gamma: &gamma_device,
            stats: &stats,
            upstream: None,
            dx: &dx,
        };
        layer_norm_backward(recorder, backward).unwrap();
    });
    let x = wide(&x);
    let wanted = reference::layer_norm(&x, &wide(&gamma), &wide(&beta), rows, d, f64::from(EPSILON));
    // The mean's rounding error, of the offset's size, moves every x̂ = (x − μ)/σ; σ = 1/√3.
    let sensitivity = f64::from(offset) * 3f64.sqrt();
    let bound_y = bound(d) * sensitivity;
    assert!(bound_y < 0.02, "the bound must tell two passes from one");
    assert_close("y", &gpu.read(&y).unwrap(), &wanted.y, bound_y);
    let rstd: Vec<f32> = gpu.read(&stats).unwrap().chunks_exact(2).map(|s| s[1]).collect();
    // The mean's error enters the variance only squared.
    assert_close("1/σ", &rstd, &wanted.rstd, bound(d) + bound_y * bound_y);
    let backward =
        reference::layer_norm_backward(&wide(&dy), &x, &wide(&gamma), &wanted.mean, &wanted.rstd, rows, d);
    assert_close("dx", &gpu.read(&dx).unwrap(), &backward.dx, bound_y);
}

/// More rows than one invocation adds up, and so many that the partial sums need adding up twice.
#[test]
fn gradients_over_many_rows() {
    let gpu = gpu();
    for (rows, d) in [(255, 3), (256, 4), (257, 5), (700, 65), (66_000, 2)] {
        let mut random = Random::new(rows as u64);
        let (x, x_device) = random.tensor(gpu, [rows, d]);
        let (dy, dy_device) = random.tensor(gpu, [rows, d]);
        // Any statistics do: the sum is linear in 1/σ.
        let stats: Vec<f32> = (0..rows).flat_map(|_| [0.25 * random.value(), 1.5]).collect();
        let stats_device = gpu.upload([rows, 2], &stats).unwrap();
        let d_gamma_beta = gpu.tensor([2, d]).unwrap();
        run(gpu, |recorder| {
            let op = LayerNormGrad {
                dy: &dy_device,
                x: &x_device,
                x_row: 0,
                stats: &stats_device,
                d_gamma_beta: &d_gamma_beta,
            };
            layer_norm_grad(recorder, op).unwrap();
        });
        let (mean, rstd): (Vec<f64>, Vec<f64>) = wide(&stats).chunks_exact(2).map(|s| (s[0], s[1])).unzip();
        let unit = vec![1.0; d];
        let grad = reference::layer_norm_backward(&wide(&dy), &wide(&x), &unit, &mean, &rstd, rows, d);
        let wanted: Vec<f64> = grad.dgamma.iter().chain(&grad.dbeta).copied().collect();
        let scale = largest(&wanted).max((rows as f64 / 3.0).sqrt());
        let found = gpu.read(&d_gamma_beta).unwrap();
        assert_close_at(&format!("∂γ, ∂β {rows}×{d}"), &found, &wanted, bound(rows), scale);
    }
}
