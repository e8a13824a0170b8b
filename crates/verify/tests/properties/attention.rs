//! Maps of attention: the softmax under the causal mask, Reversed Attention, a step over a cache.

use crate::bounds::{Bound, exact, given};
use crate::device::{Outcome, agree, check, same, twice};
use crate::rounding::{DEVIATIONS, Rounding};
use crate::values::{extent, values};
use retrograd_gpu::GpuError;
use retrograd_gpu::ops::{self, AttentionDecode, ReversedAttention};
use retrograd_reference::ops as reference;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Exact zeros above the diagonal of T×T maps.
fn zero_above_diagonal(maps: &[f32], t: usize) -> Outcome {
    let above: Vec<f32> = (0..maps.len()).filter(|i| i % t > i / t % t).map(|i| maps[i]).collect();
    same("above the diagonal", &above, &vec![0.0; above.len()])
}

pub(crate) fn causal_softmax() {
    check((extent(4), extent(70), values()), |(maps, t, values)| {
        let mut scores = values.start().values(maps * t * t);
        let wanted = reference::causal_softmax(&wide(&scores), maps, t);
        // What stands above the diagonal must not be read.
        for (i, score) in scores.iter_mut().enumerate().filter(|(i, _)| i % t > i / t % t) {
            *score = [f32::NAN, f32::INFINITY, 1e30][i % 3];
        }
        let found = twice(|run| {
            let scores = run.gpu.upload([maps, t, t], &scores)?;
            run.run(|recorder| ops::causal_softmax(recorder, &scores))?;
            Ok(vec![scores])
        })?;
        zero_above_diagonal(&found[0], t)?;
        let mut bounds = vec![given(0.0); maps * t * t];
        for row in 0..maps * t {
            let seen = row * t..row * t + row % t + 1;
            let largest = scores[seen.clone()].iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
            for i in seen {
                // The exponent's own rounding, relative to eˣ: |x|.
                let exponent = f64::from(largest) - f64::from(scores[i]);
                let size = wanted[i] * (1.0 + exponent);
                let floor = 2.0 * f64::from(f32::MIN_POSITIVE);
                bounds[i] = Bound { value: wanted[i], size, floor, reach: 1.0 };
            }
        }
        agree("softmax", &found[0], &bounds, Rounding::sum(t).exponential())
    });
}

pub(crate) fn reversed_attention() {
    check((extent(4), extent(70), extent(70), values()), |(maps, t, first_row, values)| {
        // From 0 to T, where no row has a gradient.
        let first_row = (first_row - 1) % (t + 1);
        let mut source = values.start();
        let pattern = source.values(maps * t * t);
        let mut e = source.values(maps * t * t);
        let scale = source.plain();
        // What stands in rows without a gradient, or above the diagonal, must not matter.
        let unread = |i: &usize| i / t % t < first_row || i % t > i / t % t;
        (0..e.len()).filter(unread).for_each(|i| e[i] = f32::NAN);
        let found = twice(|run| {
            let (pattern, e) = (run.input([maps, t, t], &pattern)?, run.input([maps, t, t], &e)?);
            let reversed = run.output([maps, t, t])?;
            run.run(|recorder| {
                let op =
                    ReversedAttention { pattern: &pattern, e: &e, first_row, scale, reversed: &reversed };
                ops::reversed_attention(recorder, op)
            })?;
            Ok(vec![reversed])
        })?;
        zero_above_diagonal(&found[0], t)?;
        let mut bounds = vec![given(0.0); maps * t * t];
        for row in (0..maps * t).filter(|row| row % t >= first_row) {
            let seen = row * t..row * t + row % t + 1;
            let dot: Bound = seen.clone().map(|i| exact(pattern[i]) * exact(e[i])).sum();
            for i in seen {
                bounds[i] = exact(pattern[i]) * (exact(e[i]) - dot) * exact(scale);
            }
        }
        agree("R", &found[0], &bounds, Rounding::sum(t))
    });
}

pub(crate) fn attention_decode() {
    check((extent(12), extent(4), extent(17), extent(20), values()), |(t, heads, width, spare, values)| {
        let (d, capacity) = (heads * width, t + spare - 1);
        let mut source = values.start();
        let qkv = source.values(t * 3 * d);
        let keep: Vec<u32> = source.tokens(heads, 2);
        let found = twice(|run| {
            // The steps go through one cache, as a generation does.
            let gpu = run.gpu;
            let (position, row) = (gpu.upload_u32([1], &[0])?, gpu.tensor([1, 3 * d])?);
            // What no token has filled yet must not be read.
            let cache = gpu.upload([capacity, 3 * d], &vec![f32::NAN; capacity * 3 * d])?;
            let (scores, keep) = (run.output([heads, capacity])?, run.input_u32([heads], &keep)?);
            let (o, masked) = (run.output([1, d])?, run.output([1, d])?);
            let mut outputs = Vec::new();
            for step in 0..t {
                gpu.write_u32(&position, &[step as u32])?;
                gpu.write(&row, &qkv[step * 3 * d..][..3 * d])?;
                run.run(|recorder| -> Result<(), GpuError> {
                    let op = AttentionDecode {
                        position: &position,
                        qkv: &row,
                        cache: &cache,
                        scores: &scores,
                        keep: None,
                        o: &o,
                    };
                    ops::attention_decode(recorder, op)?;
                    ops::attention_decode(recorder, AttentionDecode { keep: Some(&keep), o: &masked, ..op })
                })?;
                for tensor in [&o, &masked] {
                    outputs.push(gpu.upload([1, d], &gpu.read(tensor)?)?);
                }
            }
            Ok(outputs)
        })?;
        let oracle = reference::attention(&wide(&qkv), t, d, heads, None);
        for step in 0..t {
            let (wanted, rounding) = step_bounds(&qkv, &oracle, (step, t, heads, width));
            let kept = |i: usize| f64::from(keep[i / width]);
            let silenced: Vec<Bound> = wanted.iter().enumerate().map(|(i, o)| *o * given(kept(i))).collect();
            agree(&format!("o of step {step}"), &found[2 * step], &wanted, rounding)?;
            agree(&format!("o of step {step}, heads silenced"), &found[2 * step + 1], &silenced, rounding)?;
        }
        Ok(())
    });
}

/// o of a step. The scores' error is that of an exponent: it multiplies.
fn step_bounds(
    qkv: &[f32],
    oracle: &reference::Attention,
    (step, t, heads, width): (usize, usize, usize, usize),
) -> (Vec<Bound>, Rounding) {
    let d = heads * width;
    let at =
        |row: usize, part: usize, head: usize, i: usize| exact(qkv[(row * 3 + part) * d + head * width + i]);
    let products = Rounding::sum(width).exponential();
    let root = 1.0 / (width as f64).sqrt();
    let (mut bounds, mut moved) = (Vec::with_capacity(d), 0.0f64);
    for head in 0..heads {
        let score =
            |row: usize| -> Bound { (0..width).map(|i| at(step, 0, head, i) * at(row, 1, head, i)).sum() };
        let scores: Vec<Bound> = (0..=step).map(score).collect();
        let reach = scores.iter().fold(0.0, |reach: f64, score| reach.max(score.reach));
        let size = scores.iter().fold(0.0, |size: f64, score| size.max(score.size)) * root;
        // Both the score and the largest, which is subtracted.
        moved = moved.max(2.0 * products.expected * size);
        for i in 0..width {
            let mean = (0..=step)
                .map(|row| {
                    let p = oracle.pattern[(head * t + step) * t + row];
                    let p = Bound { floor: 2.0 * f64::from(f32::MIN_POSITIVE), ..given(p) };
                    p * at(row, 2, head, i)
                })
                .sum::<Bound>();
            let value = oracle.out[step * d + head * width + i];
            // Scores that f32 cannot hold, or whose rounding alone decides, promise nothing.
            let reach = if DEVIATIONS * moved > 0.5 { f64::INFINITY } else { mean.reach.max(reach) };
            bounds.push(Bound { reach, ..mean }.with_value(value));
        }
    }
    // The numerator and the denominator are both moved.
    (bounds, Rounding::sum(t).exponential().plus(products.expected).plus(2.0 * moved))
}
