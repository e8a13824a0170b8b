//! Rows of logits: the loss and its gradient, and what is read of a row without reading it.

use crate::bounds::{Bound, given};
use crate::device::{agree, check, same, twice};
use crate::rounding::Rounding;
use crate::values::{extent, values};
use proptest::test_runner::TestCaseError;
use retrograd_gpu::ops::{self, CrossEntropy, NO_TOKEN, RankedTokens, VocabularySummary};
use retrograd_reference::ops as reference;

/// Columns `from .. end` of `[rows, v]`.
fn columns<T: Copy>(x: &[T], v: usize, from: usize, end: usize) -> Vec<T> {
    x.chunks_exact(v).flat_map(|row| row[from..end].to_vec()).collect()
}

fn largest(row: &[f32]) -> f64 {
    row.iter().fold(f64::NEG_INFINITY, |m, x| m.max(f64::from(*x)))
}

pub(crate) fn cross_entropy() {
    check((extent(20), extent(200), extent(200), values()), |(rows, first, second, values)| {
        let v = first + second;
        let mut source = values.start();
        let logits = source.values(rows * v);
        let targets = source.tokens(rows, v);
        let found = twice(|run| {
            let parts = [
                run.input([rows, first], &columns(&logits, v, 0, first))?,
                run.input([rows, second], &columns(&logits, v, first, v))?,
            ];
            let deltas = [run.output([rows, first])?, run.output([rows, second])?];
            let (targets, row_loss, loss) =
                (run.input_u32([rows], &targets)?, run.output([rows])?, run.output([1])?);
            run.run(|recorder| {
                let op = CrossEntropy {
                    logits: &parts,
                    targets: &targets,
                    mean_over: rows,
                    delta: &deltas,
                    row_loss: &row_loss,
                    loss: &loss,
                };
                ops::cross_entropy(recorder, op)
            })?;
            let [low, high] = deltas;
            Ok(vec![low, high, row_loss, loss])
        })?;
        let wide: Vec<f64> = logits.iter().map(|&x| f64::from(x)).collect();
        let oracle = reference::cross_entropy(&wide, &targets, rows, v);
        let part = 1.0 / rows as f64;
        let (mut delta, mut losses) = (Vec::with_capacity(rows * v), Vec::with_capacity(rows));
        for row in 0..rows {
            let x = &logits[row * v..][..v];
            let (m, target) = (largest(x), targets[row] as usize);
            for (j, x) in x.iter().enumerate() {
                let wanted = oracle.delta[row * v + j];
                let onehot = if j == target { 1.0 } else { 0.0 };
                let p = wanted / part + onehot;
                // The exponent's own rounding, relative to eˣ: |x|.
                let size = part * (p.max(0.0) * (1.0 + (m - f64::from(*x))) + onehot);
                delta.push(Bound {
                    value: wanted,
                    size,
                    floor: 4.0 * f64::from(f32::MIN_POSITIVE),
                    reach: 1.0,
                });
            }
            // lse − x[target]: a difference of two exact numbers, and a logarithm from 0 to log V.
            let mut apart = 0.0;
            for x in x {
                apart += (f64::from(*x) - m).exp();
            }
            let away = m - f64::from(x[target]);
            let size = away + apart.ln() + 1.0;
            losses.push(Bound { value: away + apart.ln(), size, floor: 0.0, reach: away.max(m.abs()) });
        }
        let rounding = Rounding::sum(v).exponential();
        let wanted = |from: usize, end: usize| columns(&delta, v, from, end);
        agree("δ of the first range", &found[0], &wanted(0, first), rounding)?;
        agree("δ of the second range", &found[1], &wanted(first, v), rounding)?;
        agree("the loss of each row", &found[2], &losses, rounding)?;
        let mean = losses.iter().copied().sum::<Bound>() * given(part);
        agree("the loss", &found[3], &[mean.with_value(oracle.loss)], Rounding::sum(v + rows).exponential())
    });
}

pub(crate) fn vocabulary_summary() {
    let shapes = (extent(6), extent(300), 1..12usize, extent(40), 0..6usize, values());
    check(shapes, |(rows, count, slots, first, ranked, values)| {
        // A piece that begins anywhere in the vocabulary.
        let first = first - 1;
        let mut source = values.start();
        // A device may take denormals for 0, and so order them otherwise.
        let flush = |x: f32| if x.is_normal() { x } else { 0.0 * x.signum() };
        let logits: Vec<f32> = source.values(rows * count).into_iter().map(flush).collect();
        let tokens = source.tokens(ranked, count);
        let ids: Vec<u32> = tokens.iter().map(|token| token + first as u32).collect();
        let own = |row: &[f32]| -> Vec<f32> { tokens.iter().map(|&token| row[token as usize]).collect() };
        let given_logits: Vec<f32> = logits.chunks_exact(count).flat_map(own).collect();
        let found = twice(|run| {
            let logits = run.input([rows, count], &logits)?;
            let (stats, values) = (run.output([rows, 1, 3])?, run.output([rows, 1, 2, slots])?);
            let places = run.output_u32([rows, 1, 2, slots])?;
            let larger = run.output_u32([rows, 1, ranked.max(1)])?;
            // One token more than none: a tensor has elements.
            let wanted = run.input_u32([ranked.max(1)], if ranked > 0 { &ids } else { &[0] })?;
            let own = if ranked > 0 {
                run.input([rows, ranked], &given_logits)?
            } else {
                run.input([1, 1], &[0.0])?
            };
            let of = RankedTokens { tokens: &wanted, logits: &own, larger: &larger };
            run.run(|recorder| {
                let op = VocabularySummary {
                    logits: &logits,
                    first,
                    piece: (0, 1),
                    ranked: (ranked > 0).then_some(of),
                    stats: &stats,
                    values: &values,
                    ids: &places,
                };
                ops::vocabulary_summary(recorder, op)
            })?;
            let outputs = vec![stats, values, places];
            Ok(if ranked > 0 { [outputs, vec![larger]].concat() } else { outputs })
        })?;
        for (row, x) in logits.chunks_exact(count).enumerate() {
            let m = largest(x);
            let stats = &found[0][3 * row..][..3];
            same("the largest logit", &stats[..1], &[m as f32])?;
            let term = |x: &f32| {
                let away = f64::from(*x) - m;
                let e = away.exp();
                let one = Bound {
                    value: e,
                    size: e * (1.0 - away),
                    floor: f64::from(f32::MIN_POSITIVE),
                    reach: 1.0,
                };
                // e·(x − m): the product of a number that may have become 0 with a large one.
                let both = Bound { floor: one.floor * (1.0 + away.abs()), ..one * given(away) };
                (one, Bound { reach: away.abs(), ..both })
            };
            let terms: Vec<(Bound, Bound)> = x.iter().map(term).collect();
            let sums = [terms.iter().map(|t| t.0).sum::<Bound>(), terms.iter().map(|t| t.1).sum::<Bound>()];
            agree("Σ e, Σ e·(x − m)", &stats[1..], &sums, Rounding::sum(count).exponential())?;

            let mut order: Vec<usize> = (0..count).collect();
            for (half, sign) in [(0, -1.0f32), (1, 1.0)] {
                // Equal ones, 0 and −0 among them, by their token.
                order.sort_by(|&a, &b| {
                    (sign * x[a])
                        .partial_cmp(&(sign * x[b]))
                        .unwrap_or(std::cmp::Ordering::Equal)
                        .then(a.cmp(&b))
                });
                let at = (row * 2 + half) * slots;
                for place in 0..slots {
                    let id = found[2][at + place].to_bits();
                    let wanted = order.get(place).map_or(NO_TOKEN, |&token| (first + token) as u32);
                    if id != wanted {
                        let what = ["largest", "smallest"][half];
                        return Err(TestCaseError::fail(format!(
                            "place {place} of the {what} of row {row} is token {id} instead of {wanted}"
                        )));
                    }
                    if let Some(&token) = order.get(place) {
                        same("a value in its place", &found[1][at + place..][..1], &x[token..][..1])?;
                    }
                }
            }
            for (i, &token) in tokens.iter().enumerate() {
                let larger = found[3][row * ranked + i].to_bits();
                let wanted = x.iter().filter(|other| **other > x[token as usize]).count() as u32;
                if larger != wanted {
                    return Err(TestCaseError::fail(format!(
                        "{larger} logits are larger instead of {wanted}"
                    )));
                }
            }
        }
        Ok(())
    });
}
