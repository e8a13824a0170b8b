//! Layer norm, forward and backward.

use super::bench::Bench;
use crate::random::{Random, wide};
use crate::report::largest;
use crate::rounding::Rounding;
use retrograd_gpu::ops::{
    LayerNorm, LayerNormBackward, LayerNormGrad, layer_norm, layer_norm_backward, layer_norm_grad,
};
use retrograd_gpu::{GpuError, Tensor};
use retrograd_reference::ops as reference;

const EPSILON: f32 = 1e-5;

/// (rows, D): one row up to many; widths off the lanes; more rows than one grid dimension holds.
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

/// A norm's operands, and what f64 makes of them.
struct Norm {
    rows: usize,
    d: usize,
    /// Rows of x before the first that is normalised.
    x_row: usize,
    x: Vec<f64>,
    gamma: Vec<f64>,
    x_device: Tensor,
    gamma_device: Tensor,
    beta_device: Tensor,
    wanted: reference::LayerNorm,
}

impl Norm {
    /// Random values up to 1 around `offset`.
    fn new(
        bench: &Bench,
        random: &mut Random,
        (rows, d): (usize, usize),
        offset: f32,
    ) -> Result<Norm, GpuError> {
        let x_row = rows % 3;
        let x: Vec<f32> = random.values((rows + x_row) * d).iter().map(|v| v + offset).collect();
        let x_device = bench.gpu.upload([rows + x_row, d], &x)?;
        let (gamma, gamma_device) = random.tensor(bench.gpu, [d])?;
        let (beta, beta_device) = random.tensor(bench.gpu, [d])?;
        let (x, gamma) = (wide(&x[x_row * d..]), wide(&gamma));
        let wanted = reference::layer_norm(&x, &gamma, &wide(&beta), rows, d, f64::from(EPSILON));
        Ok(Norm { rows, d, x_row, x, gamma, x_device, gamma_device, beta_device, wanted })
    }

    /// The statistics of f64, on the device: the backward kernels are checked by themselves.
    fn stats(&self, bench: &Bench) -> Result<(Tensor, Vec<f64>, Vec<f64>), GpuError> {
        let both = self.wanted.mean.iter().zip(&self.wanted.rstd);
        let stats: Vec<f32> = both.flat_map(|(mean, rstd)| [*mean as f32, *rstd as f32]).collect();
        let (mean, rstd) = stats.chunks_exact(2).map(|s| (f64::from(s[0]), f64::from(s[1]))).unzip();
        Ok((bench.gpu.upload([self.rows, 2], &stats)?, mean, rstd))
    }

    fn case(&self, what: &str) -> String {
        format!("{what} of {}×{}", self.rows, self.d)
    }
}

pub(super) fn forward(bench: &mut Bench) -> Result<(), GpuError> {
    for shape in SHAPES {
        let norm = Norm::new(bench, &mut Random::new((shape.0 * 10_000 + shape.1) as u64), shape, 0.0)?;
        let (y, stats) = run_forward(bench, &norm)?;
        let rounding = Rounding::sum(norm.d);
        bench.compare(norm.case("y"), &y, &norm.wanted.y, rounding)?;
        let (mean, rstd): (Vec<f32>, Vec<f32>) = stats.chunks_exact(2).map(|s| (s[0], s[1])).unzip();
        bench.compare_values(norm.case("μ"), &mean, &norm.wanted.mean, rounding.of_at_least(1.0));
        bench.compare_values(norm.case("1/σ"), &rstd, &norm.wanted.rstd, rounding);
    }
    // A residual stream far from 0: E[x²] − E[x]² would lose every digit of a variance of 1/3 beside 10⁶, two
    // passes lose those of the mean alone. Its error, of the offset's size, moves every x̂ = (x − μ)/σ; σ = 1/√3.
    let offset = 1000.0f32;
    let norm = Norm::new(bench, &mut Random::new(5), (9, 768), offset)?;
    let (y, stats) = run_forward(bench, &norm)?;
    let moved = Rounding::sum(norm.d).times(f64::from(offset) * 3f64.sqrt());
    bench.compare(norm.case("y far from 0"), &y, &norm.wanted.y, moved)?;
    let rstd: Vec<f32> = stats.chunks_exact(2).map(|s| s[1]).collect();
    // The mean's error enters the variance only squared.
    let rounding = Rounding::sum(norm.d).plus(4.0 * moved.expected * moved.expected);
    bench.compare_values(norm.case("1/σ far from 0"), &rstd, &norm.wanted.rstd, rounding);
    Ok(())
}

fn run_forward(bench: &Bench, norm: &Norm) -> Result<(Tensor, Vec<f32>), GpuError> {
    let y = bench.gpu.tensor([norm.rows, norm.d])?;
    let stats = bench.gpu.tensor([norm.rows, 2])?;
    bench.run(|recorder| {
        let op = LayerNorm {
            x: &norm.x_device,
            x_row: norm.x_row,
            gamma: &norm.gamma_device,
            beta: &norm.beta_device,
            epsilon: EPSILON,
            y: &y,
            stats: &stats,
        };
        layer_norm(recorder, op)
    })?;
    let stats = bench.gpu.read(&stats)?;
    Ok((y, stats))
}

pub(super) fn backward(bench: &mut Bench) -> Result<(), GpuError> {
    for shape in SHAPES {
        let mut random = Random::new((shape.0 * 10_000 + shape.1 + 1) as u64);
        let norm = Norm::new(bench, &mut random, shape, 0.0)?;
        let Norm { rows, d, x_row, .. } = norm;
        let (stats, mean, rstd) = norm.stats(bench)?;
        let (dy, dy_device) = random.tensor(bench.gpu, [rows, d])?;
        let (upstream, upstream_device) = random.tensor(bench.gpu, [rows + x_row, d])?;
        let (before, with) = random.tensor(bench.gpu, [rows + x_row, d])?;
        let alone = bench.gpu.upload([rows + x_row, d], &before)?;
        bench.run(|recorder| {
            let op = LayerNormBackward {
                dy: &dy_device,
                x: &norm.x_device,
                x_row,
                gamma: &norm.gamma_device,
                stats: &stats,
                upstream: Some(&upstream_device),
                dx: &with,
            };
            layer_norm_backward(recorder, op)?;
            layer_norm_backward(recorder, LayerNormBackward { upstream: None, dx: &alone, ..op })
        })?;
        let dx = reference::layer_norm_backward(&wide(&dy), &norm.x, &norm.gamma, &mean, &rstd, rows, d).dx;
        let summed: Vec<f64> =
            dx.iter().zip(&upstream[x_row * d..]).map(|(dx, u)| dx + f64::from(*u)).collect();
        // h up to 1 is divided by σ before it is cancelled by its mean (wholly, for D = 1).
        let rounding = Rounding::sum(d).of_at_least(largest(&rstd));
        for (what, tensor, wanted) in [("∂x", &alone, &dx), ("∂x + upstream", &with, &summed)] {
            let found = bench.gpu.read(tensor)?;
            bench.compare_values(norm.case(what), &found[x_row * d..], wanted, rounding);
            let case = norm.case("rows before the first");
            bench.exactly(case, &found[..x_row * d], &before[..x_row * d]);
        }
    }
    Ok(())
}

pub(super) fn grad(bench: &mut Bench) -> Result<(), GpuError> {
    // More rows than one invocation adds up, and so many that the partial sums need adding up twice.
    let many = [(255, 3), (256, 4), (257, 5), (700, 65), (66_000, 2)];
    for (rows, d) in SHAPES.into_iter().chain(many) {
        let mut random = Random::new((rows * 10_000 + d + 2) as u64);
        let x_row = rows % 3;
        let (x, x_device) = random.tensor(bench.gpu, [rows + x_row, d])?;
        let (dy, dy_device) = random.tensor(bench.gpu, [rows, d])?;
        // Any statistics do: the sum is linear in 1/σ.
        let stats: Vec<f32> = (0..rows).flat_map(|_| [0.25 * random.value(), 1.5]).collect();
        let stats_device = bench.gpu.upload([rows, 2], &stats)?;
        let d_gamma_beta = bench.gpu.tensor([2, d])?;
        bench.run(|recorder| {
            let op = LayerNormGrad {
                dy: &dy_device,
                x: &x_device,
                x_row,
                stats: &stats_device,
                d_gamma_beta: &d_gamma_beta,
            };
            layer_norm_grad(recorder, op)
        })?;
        let (mean, rstd): (Vec<f64>, Vec<f64>) = wide(&stats).chunks_exact(2).map(|s| (s[0], s[1])).unzip();
        let (x, unit) = (wide(&x[x_row * d..]), vec![1.0; d]);
        let grad = reference::layer_norm_backward(&wide(&dy), &x, &unit, &mean, &rstd, rows, d);
        let wanted: Vec<f64> = grad.dgamma.iter().chain(&grad.dbeta).copied().collect();
        let rounding = Rounding::sum(rows).of_at_least((rows as f64 / 3.0).sqrt());
        bench.compare(format!("∂γ, ∂β of {rows}×{d}"), &d_gamma_beta, &wanted, rounding)?;
    }
    Ok(())
}
