//! What attention does besides products.

use super::check::{larger, relative_error, relative_to, rounding};
use super::values::{values, wide};
use super::{At, Case, Prepared};
use crate::BenchError;
use retrograd_gpu::ops::{
    AttentionDecode, HeadProducts, PatchAttention, ReplaceHeads, ReversedAttention, attention_decode,
    causal_softmax, head_products, patch_attention, replace_heads, reversed_attention,
};
use retrograd_gpu::{Gpu, Recorder};
use retrograd_reference::ops as reference;

pub(super) fn cases(at: &At) -> Vec<Case> {
    let At { length: t, d, h, .. } = *at;
    let half = 4 * h * t * (t + 1) / 2;
    let maps = 4 * h * t * t;
    let shape = format!("{h}×{t}×{t}");
    vec![
        at.case("causal_softmax", "A of every head", shape.clone(), half + maps, move |gpu| {
            softmax(gpu, h, t)
        }),
        at.case("reversed_attention", "R of every head", shape.clone(), 2 * half + maps, move |gpu| {
            reversed(gpu, h, t, d)
        }),
        at.case("patch_attention", "attention patching", shape, 3 * maps, move |gpu| patched(gpu, h, t)),
        at.case("replace_heads", "silenced heads", format!("{t}×{d}"), 8 * t * d, move |gpu| {
            silenced(gpu, t, d, h)
        }),
        at.case("head_products", "o ⊙ ∂o by head", format!("{t}×{d}"), 8 * t * d, move |gpu| {
            products(gpu, t, d, h)
        }),
        at.case(
            "attention_decode",
            "one token over a full cache",
            format!("{h} × {t}×{}", d / h),
            // Keys and values of the tokens so far.
            8 * t * d,
            move |gpu| decode(gpu, t, d, h),
        ),
    ]
}

fn softmax(gpu: &Gpu, h: usize, t: usize) -> Result<Prepared, BenchError> {
    // Spread as scores are.
    let scores: Vec<f32> = values(h * t * t, 0).iter().map(|v| 4.0 * v).collect();
    let tensor = gpu.upload([h, t, t], &scores)?;
    let mut recorder = Recorder::new(gpu);
    causal_softmax(&mut recorder, &tensor)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let wanted = reference::causal_softmax(&wide(&scores), h, t);
    let error = relative_error(&gpu.read(&tensor)?, &wanted);
    Ok(Prepared { pass, error, bound: rounding(t) })
}

fn reversed(gpu: &Gpu, h: usize, t: usize, d: usize) -> Result<Prepared, BenchError> {
    let a = reference::causal_softmax(&wide(&values(h * t * t, 0)), h, t);
    let a: Vec<f32> = a.iter().map(|&v| v as f32).collect();
    let e = values(h * t * t, 31);
    let scale = 1.0 / ((d / h) as f32).sqrt();
    let (pattern, e_device) = (gpu.upload([h, t, t], &a)?, gpu.upload([h, t, t], &e)?);
    let out = gpu.tensor([h, t, t])?;
    let mut recorder = Recorder::new(gpu);
    let op = ReversedAttention { pattern: &pattern, e: &e_device, first_row: 0, scale, reversed: &out };
    reversed_attention(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    // R = A ⊙ (E − rowsum(A ⊙ E))/√d
    let mut wanted = vec![0.0; h * t * t];
    for (row, r) in wanted.chunks_exact_mut(t).enumerate() {
        let causal = row % t + 1;
        let (a, e) = (wide(&a[row * t..][..causal]), wide(&e[row * t..][..causal]));
        let sum: f64 = a.iter().zip(&e).map(|(a, e)| a * e).sum();
        for (r, (a, e)) in r.iter_mut().zip(a.iter().zip(&e)) {
            *r = a * (e - sum) * f64::from(scale);
        }
    }
    // With one token R is 0: its error counts against what E alone would give.
    let error = relative_to(super::check::largest(&wanted).max(f64::from(scale)), &gpu.read(&out)?, &wanted);
    Ok(Prepared { pass, error, bound: rounding(t) })
}

fn patched(gpu: &Gpu, h: usize, t: usize) -> Result<Prepared, BenchError> {
    let (a, m) = (values(h * t * t, 0), values(h * t * t, 31));
    let (pattern, map) = (gpu.upload([h, t, t], &a)?, gpu.upload([h, t, t], &m)?);
    let (alpha, out) = (gpu.upload([1], &[-0.5])?, gpu.tensor([h, t, t])?);
    let mut recorder = Recorder::new(gpu);
    let op = PatchAttention { pattern: &pattern, map: &map, alpha: &alpha, out: &out };
    patch_attention(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let wanted: Vec<f64> = a.iter().zip(&m).map(|(a, m)| f64::from(*a) - 0.5 * f64::from(*m)).collect();
    Ok(Prepared { error: relative_error(&gpu.read(&out)?, &wanted), bound: rounding(1), pass })
}

fn silenced(gpu: &Gpu, t: usize, d: usize, h: usize) -> Result<Prepared, BenchError> {
    let x = values(t * d, 0);
    let replaced: Vec<u32> = (0..h as u32).map(|head| u32::from(head == 1)).collect();
    let (x_device, mask, out) =
        (gpu.upload([t, d], &x)?, gpu.upload_u32([1, h], &replaced)?, gpu.tensor([t, d])?);
    let mut recorder = Recorder::new(gpu);
    let op = ReplaceHeads { x: &x_device, replaced: &mask, fill: None, first_position: 0, out: &out };
    replace_heads(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let head = |at: usize| at % d / (d / h);
    let wanted: Vec<f64> =
        x.iter().enumerate().map(|(at, v)| f64::from(*v) * f64::from(1 - replaced[head(at)])).collect();
    Ok(Prepared { error: relative_error(&gpu.read(&out)?, &wanted), bound: 0.0, pass })
}

fn products(gpu: &Gpu, t: usize, d: usize, h: usize) -> Result<Prepared, BenchError> {
    let (a, b) = (values(t * d, 0), values(t * d, 31));
    let (a_device, b_device) = (gpu.upload([t, d], &a)?, gpu.upload([t, d], &b)?);
    let out = gpu.tensor([h])?;
    let mut recorder = Recorder::new(gpu);
    let op = HeadProducts { a: &a_device, b: &b_device, batch: 1, heads: h, out: &out, out_index: 0 };
    head_products(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let (mut wanted, mut sizes) = (vec![0.0; h], vec![0.0f64; h]);
    for (at, (a, b)) in a.iter().zip(&b).enumerate() {
        let (head, product) = (at % d / (d / h), f64::from(*a) * f64::from(*b));
        wanted[head] += product;
        sizes[head] += product.abs();
    }
    // The sum may cancel: its error counts against the size of its terms.
    let size = sizes.iter().fold(0.0, |largest: f64, size| largest.max(*size));
    Ok(Prepared { error: relative_to(size, &gpu.read(&out)?, &wanted), bound: rounding(t * d / h), pass })
}

/// The token at the last position; the cache holds the keys and values of those before.
fn decode(gpu: &Gpu, t: usize, d: usize, h: usize) -> Result<Prepared, BenchError> {
    let rows = values(t * 3 * d, 0);
    let (before, own) = rows.split_at((t - 1) * 3 * d);
    let position = gpu.upload_u32([1], &[t as u32 - 1])?;
    let qkv = gpu.upload([1, 3 * d], own)?;
    let cache = gpu.upload([t, 3 * d], &[before, &vec![0.0; 3 * d]].concat())?;
    let (scores, o) = (gpu.tensor([h, t])?, gpu.tensor([1, d])?);
    let mut recorder = Recorder::new(gpu);
    let op =
        AttentionDecode { position: &position, qkv: &qkv, cache: &cache, scores: &scores, keep: None, o: &o };
    attention_decode(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let wide_rows = wide(&rows);
    let width = d / h;
    let mut wanted = Vec::with_capacity(d);
    for head in 0..h {
        let part = |row: usize, part: usize| &wide_rows[row * 3 * d + part * d + head * width..][..width];
        let q = part(t - 1, 0);
        let scores: Vec<f64> = (0..t)
            .map(|row| q.iter().zip(part(row, 1)).map(|(q, k)| q * k).sum::<f64>() / (width as f64).sqrt())
            .collect();
        let pattern = reference::softmax(&scores);
        wanted.extend((0..width).map(|j| (0..t).map(|row| pattern[row] * part(row, 2)[j]).sum::<f64>()));
    }
    let error = larger(relative_to(super::check::largest(&wanted), &gpu.read(&o)?, &wanted), 0.0);
    Ok(Prepared { pass, error, bound: rounding(t) + rounding(width) })
}
