//! Look-ups and their gradients.

use super::check::{largest, relative_error, relative_to, rounding};
use super::values::{values, wide};
use super::{At, Case, Prepared};
use crate::BenchError;
use retrograd_gpu::ops::{
    Embedding, EmbeddingBackward, PositionEmbeddingBackward, VocabRange, embedding, embedding_backward,
    position_embedding_backward,
};
use retrograd_gpu::{Gpu, Recorder};
use retrograd_reference::ops as reference;

/// Rows of the table: a look-up does not read the others.
const VOCABULARY: usize = 4096;

pub(super) fn cases(at: &At) -> Vec<Case> {
    let At { length: t, d, v, .. } = *at;
    let v = v.min(VOCABULARY);
    let rows = 4 * t * d;
    let shape = format!("{t}×{d}");
    vec![
        at.case("embedding", "tokens and positions", shape.clone(), 3 * rows, move |gpu| {
            lookup(gpu, t, d, v)
        }),
        at.case("embedding_backward", "∂wte", shape.clone(), 2 * rows, move |gpu| {
            tokens_backward(gpu, t, d, v)
        }),
        at.case("position_embedding_backward", "∂wpe", shape, 2 * rows, move |gpu| {
            positions_backward(gpu, t, d)
        }),
    ]
}

fn ids(t: usize, v: usize) -> Vec<u32> {
    (0..t).map(|i| (7919 * i % v) as u32).collect()
}

fn lookup(gpu: &Gpu, t: usize, d: usize, v: usize) -> Result<Prepared, BenchError> {
    let (wte, wpe, tokens) = (values(v * d, 0), values(t * d, 31), ids(t, v));
    let range = [VocabRange { first: 0, rows: gpu.upload([v, d], &wte)? }];
    let (tokens_device, start) = (gpu.upload_u32([t], &tokens)?, gpu.upload_u32([1], &[0])?);
    let (wpe_device, x) = (gpu.upload([t, d], &wpe)?, gpu.tensor([t, d])?);
    let mut recorder = Recorder::new(gpu);
    let op =
        Embedding { tokens: &tokens_device, start: &start, context: t, wte: &range, wpe: &wpe_device, x: &x };
    embedding(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let wanted = reference::embedding(&tokens, &wide(&wte), &wide(&wpe), d);
    Ok(Prepared { error: relative_error(&gpu.read(&x)?, &wanted), bound: rounding(1), pass })
}

fn tokens_backward(gpu: &Gpu, t: usize, d: usize, v: usize) -> Result<Prepared, BenchError> {
    let (delta, tokens) = (values(t * d, 0), ids(t, v));
    // The rows sorted by token: the same token's rows one after the other.
    let mut order: Vec<u32> = (0..t as u32).collect();
    order.sort_by_key(|&row| (tokens[row as usize], row));
    let (mut unique, mut offsets) = (vec![0; t], vec![t as u32; t + 1]);
    let mut distinct = 0;
    for (at, &row) in order.iter().enumerate() {
        let token = tokens[row as usize];
        if at == 0 || token != unique[distinct - 1] {
            (unique[distinct], offsets[distinct]) = (token, at as u32);
            distinct += 1;
        }
    }
    let delta_device = gpu.upload([t, d], &delta)?;
    let (unique, offsets) = (gpu.upload_u32([t], &unique)?, gpu.upload_u32([t + 1], &offsets)?);
    let (order, d_wte) = (gpu.upload_u32([t], &order)?, gpu.upload([v, d], &vec![0.0; v * d])?);
    let mut recorder = Recorder::new(gpu);
    let op = EmbeddingBackward {
        unique: &unique,
        offsets: &offsets,
        order: &order,
        delta: &delta_device,
        first: 0,
        d_wte: &d_wte,
        accumulate: false,
    };
    embedding_backward(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let (wanted, _) = reference::embedding_backward(&tokens, &wide(&delta), v, t, d);
    let error = relative_to(largest(&wanted).max(1.0), &gpu.read(&d_wte)?, &wanted);
    Ok(Prepared { pass, error, bound: rounding(t) })
}

/// Two sequences, so that there is something to add.
fn positions_backward(gpu: &Gpu, t: usize, d: usize) -> Result<Prepared, BenchError> {
    let batch = 2;
    let delta = values(batch * t * d, 0);
    let (delta_device, d_wpe) = (gpu.upload([batch * t, d], &delta)?, gpu.tensor([t, d])?);
    let mut recorder = Recorder::new(gpu);
    let op = PositionEmbeddingBackward { delta: &delta_device, batch, context: t, d_wpe: &d_wpe };
    position_embedding_backward(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let (first, second) = delta.split_at(t * d);
    let wanted: Vec<f64> = first.iter().zip(second).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect();
    let error = relative_to(largest(&wanted).max(1.0), &gpu.read(&d_wpe)?, &wanted);
    Ok(Prepared { pass, error, bound: rounding(batch) })
}
