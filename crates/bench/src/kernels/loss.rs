//! The loss and sums.

use super::check::{larger as larger_of, relative_to, rounding};
use super::values::{values, wide};
use super::{At, Case, Prepared};
use crate::BenchError;
use retrograd_gpu::ops::{
    CrossEntropy, RankedTokens, VocabularySummary, WeightedSum, cross_entropy, vocabulary_summary,
    weighted_sum,
};
use retrograd_gpu::{Dtype, Gpu, HostData, Recorder, Tensor};
use retrograd_reference::ops as reference;

/// Logits of a range: what GPT-2's embedding is cut into where a binding holds 128 MiB.
const RANGE: usize = 32_768;
/// Positions with loss at most: a logit and its gradient take 8 bytes, 50,257 times a position.
const POSITIONS: usize = 64;

pub(super) fn cases(at: &At) -> Vec<Case> {
    let At { length: t, v, d, i, .. } = *at;
    let p = t.min(POSITIONS);
    vec![
        // Read for the sum, read for the gradient, written.
        at.case(
            "cross_entropy",
            "loss and δ of the logits",
            format!("{p}×{v}"),
            3 * 4 * p * v,
            move |gpu| loss(gpu, p, v),
        ),
        at.case(
            "vocabulary_summary",
            "8 tokens at either end, one rank",
            format!("{p}×{}", v.min(RANGE)),
            4 * p * v.min(RANGE),
            move |gpu| summary(gpu, p, v.min(RANGE)),
        ),
        at.case("weighted_sum", "a difference of logits", format!("{}", d * i), 8 * d * i, move |gpu| {
            sum(gpu, d * i)
        }),
    ]
}

fn loss(gpu: &Gpu, p: usize, v: usize) -> Result<Prepared, BenchError> {
    let logits: Vec<f32> = values(p * v, 0).iter().map(|x| 4.0 * x).collect();
    let targets: Vec<u32> = (0..p).map(|row| (7919 * row % v) as u32).collect();
    let ranges: Vec<(usize, usize)> =
        (0..v).step_by(RANGE).map(|first| (first, RANGE.min(v - first))).collect();
    let block = |first: usize, count: usize| -> Vec<f32> {
        logits.chunks_exact(v).flat_map(|row| row[first..first + count].iter().copied()).collect()
    };
    let tensors = |fill: bool| -> Result<Vec<Tensor>, BenchError> {
        ranges
            .iter()
            .map(|&(first, count)| {
                Ok(if fill { gpu.upload([p, count], &block(first, count))? } else { gpu.tensor([p, count])? })
            })
            .collect()
    };
    let (logits_device, delta) = (tensors(true)?, tensors(false)?);
    let (targets_device, loss) = (gpu.upload_u32([p], &targets)?, gpu.tensor([1])?);
    let mut recorder = Recorder::new(gpu);
    let row_loss = gpu.tensor([targets_device.len()])?;
    let op = CrossEntropy {
        logits: &logits_device,
        targets: &targets_device,
        mean_over: targets_device.len(),
        delta: &delta,
        row_loss: &row_loss,
        loss: &loss,
    };
    cross_entropy(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let wanted = reference::cross_entropy(&wide(&logits), &targets, p, v);
    let mut error = relative_to(wanted.loss.abs(), &gpu.read(&loss)?, &[wanted.loss]);
    for (&(first, count), delta) in ranges.iter().zip(&delta) {
        let wanted: Vec<f64> =
            wanted.delta.chunks_exact(v).flat_map(|row| row[first..first + count].iter().copied()).collect();
        error = larger_of(error, relative_to(1.0 / p as f64, &gpu.read(delta)?, &wanted));
    }
    Ok(Prepared { pass, error, bound: rounding(v) })
}

/// One piece of the vocabulary.
fn summary(gpu: &Gpu, p: usize, v: usize) -> Result<Prepared, BenchError> {
    const SLOTS: usize = 8;
    // Values repeat after 1009 elements: a slope makes every logit of a row its own.
    let logits: Vec<f32> =
        values(p * v, 0).iter().enumerate().map(|(at, x)| 4.0 * x + (at % v) as f32 / v as f32).collect();
    let token = (v / 2) as u32;
    let own: Vec<f32> = logits.chunks_exact(v).map(|row| row[token as usize]).collect();
    let logits_device = gpu.upload([p, v], &logits)?;
    let (tokens, own) = (gpu.upload_u32([1], &[token])?, gpu.upload([p, 1], &own)?);
    let (stats, ends) = (gpu.tensor([p, 1, 3])?, gpu.tensor([p, 1, 2, SLOTS])?);
    let ids = gpu.allocate([p, 1, 2, SLOTS].into(), Dtype::U32)?;
    let larger = gpu.allocate([p, 1, 1].into(), Dtype::U32)?;
    let mut recorder = Recorder::new(gpu);
    let op = VocabularySummary {
        logits: &logits_device,
        first: 0,
        piece: (0, 1),
        ranked: Some(RankedTokens { tokens: &tokens, logits: &own, larger: &larger }),
        stats: &stats,
        values: &ends,
        ids: &ids,
    };
    vocabulary_summary(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let (stats, ends) = (gpu.read(&stats)?, gpu.read(&ends)?);
    let counted = gpu.read_many(&[&larger])?;
    let [HostData::U32(counted)] = &counted[..] else {
        return Ok(Prepared { pass, error: f64::INFINITY, bound: 0.0 });
    };
    let slots = SLOTS.min(v);
    let mut error: f64 = 0.0;
    for (row, logits) in logits.chunks_exact(v).enumerate() {
        let mut sorted = logits.to_vec();
        sorted.sort_by(f32::total_cmp);
        let (top, bottom) = ends[row * 2 * SLOTS..][..2 * SLOTS].split_at(SLOTS);
        let exact =
            top.iter().zip(sorted.iter().rev()).chain(bottom.iter().zip(&sorted)).all(|(a, b)| a == b);
        let rank = logits.iter().filter(|&&x| x > logits[token as usize]).count();
        if slots == SLOTS && !exact || counted[row] as usize != rank {
            error = f64::INFINITY;
        }
        let found = f64::from(stats[3 * row]) + f64::from(stats[3 * row + 1]).ln();
        let wanted = reference::log_sum_exp(&wide(logits));
        error = larger_of(error, (found - wanted).abs() / wanted.abs());
    }
    Ok(Prepared { pass, error, bound: rounding(v) })
}

fn sum(gpu: &Gpu, count: usize) -> Result<Prepared, BenchError> {
    let (a, b) = (values(count, 0), values(count, 31));
    let (a_device, b_device) = (gpu.upload([count], &a)?, gpu.upload([count], &b)?);
    let out = gpu.tensor([1])?;
    let mut recorder = Recorder::new(gpu);
    let op = WeightedSum { a: &a_device, b: Some(&b_device), scale: 1.0, out: &out, out_index: 0 };
    weighted_sum(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let terms: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).collect();
    let scale: f64 = terms.iter().map(|term| term.abs()).sum::<f64>();
    let error = relative_to(scale, &gpu.read(&out)?, &[terms.iter().sum()]);
    Ok(Prepared { pass, error, bound: rounding(count) })
}
