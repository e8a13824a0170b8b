//! Layer norm, forward and backward.

use crate::bounds::{Bound, exact, exactly, given};
use crate::device::{Outcome, agree, check, same, twice};
use crate::rounding::Rounding;
use crate::values::{Source, extent, values};
use proptest::test_runner::TestCaseError;
use retrograd_gpu::ops::{self, LayerNorm, LayerNormBackward, LayerNormGrad};
use retrograd_reference::ops as reference;

const EPSILON: f32 = 1e-5;
/// The mean's error in units of σ from which on it is what is normalised, and not the row.
const LOST: f64 = 0.1;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

pub(crate) fn forward() {
    check((extent(20), extent(300), 0..3usize, values()), |(rows, d, x_row, values)| {
        let mut source = values.start();
        let x = source.values((rows + x_row) * d);
        let (gamma, beta) = (source.values(d), source.values(d));
        let found = twice(|run| {
            let x = run.input([rows + x_row, d], &x)?;
            let (gamma, beta) = (run.input([d], &gamma)?, run.input([d], &beta)?);
            let (y, stats) = (run.output([rows, d])?, run.output([rows, 2])?);
            run.run(|recorder| {
                let op = LayerNorm {
                    x: &x,
                    x_row,
                    gamma: &gamma,
                    beta: &beta,
                    epsilon: EPSILON,
                    y: &y,
                    stats: &stats,
                };
                ops::layer_norm(recorder, op)
            })?;
            Ok(vec![y, stats])
        })?;
        let x = &x[x_row * d..];
        let epsilon = f64::from(EPSILON);
        let wanted = reference::layer_norm(&wide(x), &wide(&gamma), &wide(&beta), rows, d, epsilon);
        for row in 0..rows {
            let y = &found[0][row * d..][..d];
            let stats = &found[1][2 * row..][..2];
            let (mean, rstd) = (wanted.mean[row], wanted.rstd[row]);
            check_row(
                &x[row * d..][..d],
                &gamma,
                &beta,
                (y, stats),
                (&wanted.y[row * d..][..d], mean, rstd),
            )?;
        }
        Ok(())
    });
}

/// A normalised row. Its rounding is that of the mean, which moves every element by as much.
fn check_row(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    (y, stats): (&[f32], &[f32]),
    (wanted, mean, rstd): (&[f64], f64, f64),
) -> Outcome {
    let rounding = Rounding::sum(x.len());
    let d = given(x.len() as f64);
    let sum: Bound = x.iter().map(|x| exact(*x)).sum();
    let size = sum.size / d.value;
    let moved = 4.0 * rounding.expected * size;
    let squares: f64 = x.iter().map(|x| ((f64::from(*x) - mean).abs() + moved).powi(2)).sum();
    let mean_bound = Bound { value: mean, size, floor: sum.floor, reach: sum.reach };
    agree("μ", &stats[..1], &[mean_bound], rounding)?;
    // Squares that f32 cannot hold: no promise.
    if squares > f64::from(f32::MAX) / 2.0 {
        return Ok(());
    }
    let lost = moved * rstd;
    if lost > LOST {
        // A row whose spread is below the rounding of its mean. Whatever it is taken for, it is normalised.
        for (at, (y, (gamma, beta))) in y.iter().zip(gamma.iter().zip(beta)).enumerate() {
            let most = (x.len() as f64).sqrt() * f64::from(gamma.abs()) * 1.001 + f64::from(beta.abs());
            if y.is_nan() || f64::from(y.abs()) > most + 1e-30 {
                return Err(TestCaseError::fail(format!("y[{at}] is {y:e}, beyond √D·|γ| + |β| = {most:e}")));
            }
        }
        return Ok(());
    }
    // The mean's error enters the variance only squared.
    let rstd_rounding = rounding.plus(lost * lost);
    agree("1/σ", &stats[1..], &[given(rstd)], rstd_rounding)?;
    let bounds: Vec<Bound> = x
        .iter()
        .zip(gamma.iter().zip(beta))
        .zip(wanted)
        .map(|((x, (gamma, beta)), wanted)| {
            let centred = exact(*x) - Bound { value: mean, size, floor: sum.floor, reach: 0.0 };
            (centred * given(rstd) * exact(*gamma) + exact(*beta)).with_value(*wanted)
        })
        .collect();
    agree("y", y, &bounds, rstd_rounding)
}

/// Means and positive 1/σ, as numbers that f32 holds.
fn stats(source: &mut Source, rows: usize) -> Vec<f32> {
    (0..rows).flat_map(|_| [source.value(), 1.0 + source.plain() * 0.9]).collect()
}

pub(crate) fn backward() {
    check((extent(20), extent(300), 0..3usize, values()), |(rows, d, x_row, values)| {
        let mut source = values.start();
        let x = source.values((rows + x_row) * d);
        let (gamma, dy) = (source.values(d), source.values(rows * d));
        let upstream = source.values((rows + x_row) * d);
        let stats = stats(&mut source, rows);
        let found = twice(|run| {
            let (x, dy) = (run.input([rows + x_row, d], &x)?, run.input([rows, d], &dy)?);
            let (gamma, stats) = (run.input([d], &gamma)?, run.input([rows, 2], &stats)?);
            let upstream = run.input([rows + x_row, d], &upstream)?;
            let (alone, with) = (run.output([rows + x_row, d])?, run.output([rows + x_row, d])?);
            run.run(|recorder| {
                let op = LayerNormBackward {
                    dy: &dy,
                    x: &x,
                    x_row,
                    gamma: &gamma,
                    stats: &stats,
                    upstream: Some(&upstream),
                    dx: &with,
                };
                ops::layer_norm_backward(recorder, op)?;
                ops::layer_norm_backward(recorder, LayerNormBackward { upstream: None, dx: &alone, ..op })
            })?;
            Ok(vec![alone, with])
        })?;
        let (mean, rstd): (Vec<f64>, Vec<f64>) = wide(&stats).chunks_exact(2).map(|s| (s[0], s[1])).unzip();
        let oracle = reference::layer_norm_backward(
            &wide(&dy),
            &wide(&x[x_row * d..]),
            &wide(&gamma),
            &mean,
            &rstd,
            rows,
            d,
        );
        let mut wanted = Vec::with_capacity(rows * d);
        for row in 0..rows {
            let x = exactly(&x[(row + x_row) * d..][..d]);
            let (mean, rstd) = (exact(stats[2 * row]), exact(stats[2 * row + 1]));
            let h: Vec<Bound> = (0..d).map(|j| exact(gamma[j]) * exact(dy[row * d + j])).collect();
            let normed: Vec<Bound> = x.iter().map(|x| (*x - mean) * rstd).collect();
            let part = given(1.0 / d as f64);
            let mean_h = h.iter().copied().sum::<Bound>() * part;
            let mean_hx = h.iter().zip(&normed).map(|(h, x)| *h * *x).sum::<Bound>() * part;
            for j in 0..d {
                let dx = (h[j] - mean_h - normed[j] * mean_hx) * rstd;
                wanted.push(dx.with_value(oracle.dx[row * d + j]));
            }
        }
        let rounding = Rounding::sum(d);
        for (found, what) in found.iter().zip(["before the first, alone", "before the first"]) {
            same(what, &found[..x_row * d], &vec![f32::NAN; x_row * d])?;
        }
        agree("∂x", &found[0][x_row * d..], &wanted, rounding)?;
        let summed = |(dx, u): (&Bound, &f32)| exact(*u) + *dx;
        let summed: Vec<Bound> = wanted.iter().zip(&upstream[x_row * d..]).map(summed).collect();
        agree("∂x + upstream", &found[1][x_row * d..], &summed, rounding)
    });
}

pub(crate) fn grad() {
    check((extent(600), extent(70), 0..3usize, values()), |(rows, d, x_row, values)| {
        let mut source = values.start();
        let (x, dy) = (source.values((rows + x_row) * d), source.values(rows * d));
        let stats = stats(&mut source, rows);
        let found = twice(|run| {
            let (x, dy) = (run.input([rows + x_row, d], &x)?, run.input([rows, d], &dy)?);
            let (stats, out) = (run.input([rows, 2], &stats)?, run.output([2, d])?);
            run.run(|recorder| {
                let op = LayerNormGrad { dy: &dy, x: &x, x_row, stats: &stats, d_gamma_beta: &out };
                ops::layer_norm_grad(recorder, op)
            })?;
            Ok(vec![out])
        })?;
        let (mean, rstd): (Vec<f64>, Vec<f64>) = wide(&stats).chunks_exact(2).map(|s| (s[0], s[1])).unzip();
        let unit = vec![1.0; d];
        let oracle =
            reference::layer_norm_backward(&wide(&dy), &wide(&x[x_row * d..]), &unit, &mean, &rstd, rows, d);
        let normed = |row: usize, j: usize| {
            (exact(x[(row + x_row) * d + j]) - exact(stats[2 * row])) * exact(stats[2 * row + 1])
        };
        let gamma = |j: usize| (0..rows).map(|row| exact(dy[row * d + j]) * normed(row, j)).sum::<Bound>();
        let beta = |j: usize| (0..rows).map(|row| exact(dy[row * d + j])).sum::<Bound>();
        let wanted: Vec<Bound> = (0..d)
            .map(|j| gamma(j).with_value(oracle.dgamma[j]))
            .chain((0..d).map(|j| beta(j).with_value(oracle.dbeta[j])))
            .collect();
        agree("∂γ, ∂β", &found[0], &wanted, Rounding::sum(rows))
    });
}
