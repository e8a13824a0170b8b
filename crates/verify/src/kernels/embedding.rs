//! Embedding of tokens and positions, and the gradients of both tables.

use super::bench::Bench;
use crate::random::{Random, to_f16, wide};
use crate::report::largest;
use crate::rounding::Rounding;
use retrograd_gpu::ops::{
    Embedding, EmbeddingBackward, PositionEmbeddingBackward, VocabRange, embedding, embedding_backward,
    position_embedding_backward,
};
use retrograd_gpu::{Gpu, GpuError};
use retrograd_reference::ops as reference;

/// (batch, tokens of a sequence, D, where the ranges of the vocabulary end)
type Case = (usize, usize, usize, &'static [usize]);

const CASES: [Case; 7] = [
    (1, 1, 1, &[1]),
    (1, 5, 3, &[11]),
    (2, 9, 64, &[5, 17]),
    (3, 37, 65, &[1, 2, 50]),
    (1, 64, 97, &[33, 66, 99]),
    // One token fills every row.
    (2, 300, 4, &[1]),
    (4, 8_500, 3, &[100, 129]),
];

fn vocabulary(ends: &[usize]) -> usize {
    ends.last().copied().unwrap_or(0)
}

/// The vocabulary cut at `ends`, on the device, in f16 where given so.
fn ranges(
    gpu: &Gpu,
    table: &[f32],
    f16: bool,
    d: usize,
    ends: &[usize],
) -> Result<Vec<VocabRange>, GpuError> {
    let mut first = 0;
    let range = |&end: &usize| {
        let (values, dims) = (&table[first * d..end * d], [end - first, d]);
        let rows = if f16 { gpu.upload_f16(dims, &to_f16(values).0) } else { gpu.upload(dims, values) }?;
        let range = VocabRange { first, rows };
        first = end;
        Ok(range)
    };
    ends.iter().map(range).collect()
}

pub(super) fn lookups(bench: &mut Bench) -> Result<(), GpuError> {
    for (batch, context, d, ends) in CASES {
        for (f16, start) in [(false, 0), (false, 2), (true, 0), (true, 2)] {
            let (rows, vocab) = (batch * context, vocabulary(ends));
            let mut random = Random::new((rows * 1000 + d) as u64);
            let mut wte = random.values(vocab * d);
            if f16 {
                wte = to_f16(&wte).1;
            }
            let (wpe, wpe_device) = random.tensor(bench.gpu, [context + start, d])?;
            let tokens: Vec<u32> = (0..rows).map(|_| random.below(vocab) as u32).collect();
            let table = ranges(bench.gpu, &wte, f16, d, ends)?;
            let tokens_device = bench.gpu.upload_u32([rows], &tokens)?;
            let start_device = bench.gpu.upload_u32([1], &[start as u32])?;
            let x = bench.gpu.tensor([rows, d])?;
            bench.run(|recorder| {
                let op = Embedding {
                    tokens: &tokens_device,
                    start: &start_device,
                    context,
                    wte: &table,
                    wpe: &wpe_device,
                    x: &x,
                };
                embedding(recorder, op)
            })?;
            let wpe = wide(&wpe[start * d..]);
            let wanted = reference::embedding_batch(&tokens, &wide(&wte), &wpe, d, context);
            let case = format!(
                "{batch}×{context} tokens of {ends:?}, D={d}, {}, from position {start}",
                if f16 { "f16" } else { "f32" }
            );
            // One addition of two exact numbers up to 1: half an ulp of a sum below 2.
            bench.compare(case, &x, &wanted, Rounding::steps(2.0).of_at_least(1.0))?;
        }
    }
    Ok(())
}

/// Rows sorted by token, as the kernel wants them: distinct tokens, where each one's rows begin, the rows.
fn sorted(tokens: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
    order.sort_by_key(|&row| (tokens[row as usize], row));
    let (mut unique, mut offsets): (Vec<u32>, Vec<u32>) = (vec![], vec![]);
    for (at, &row) in order.iter().enumerate() {
        if unique.last() != Some(&tokens[row as usize]) {
            unique.push(tokens[row as usize]);
            offsets.push(at as u32);
        }
    }
    unique.resize(tokens.len(), 0);
    offsets.resize(tokens.len() + 1, tokens.len() as u32);
    (unique, offsets, order)
}

pub(super) fn token_gradients(bench: &mut Bench) -> Result<(), GpuError> {
    for (batch, context, d, ends) in CASES {
        for accumulate in [false, true] {
            let (rows, vocab) = (batch * context, vocabulary(ends));
            let mut random = Random::new((rows * 1000 + d) as u64);
            let tokens: Vec<u32> = (0..rows).map(|_| random.below(vocab) as u32).collect();
            let (delta, delta_device) = random.tensor(bench.gpu, [rows, d])?;
            let before = random.values(vocab * d);
            let table = ranges(bench.gpu, &before, false, d, ends)?;
            let (unique, offsets, order) = sorted(&tokens);
            let unique = bench.gpu.upload_u32([rows], &unique)?;
            let offsets = bench.gpu.upload_u32([rows + 1], &offsets)?;
            let order = bench.gpu.upload_u32([rows], &order)?;
            bench.run(|recorder| {
                for range in &table {
                    let op = EmbeddingBackward {
                        unique: &unique,
                        offsets: &offsets,
                        order: &order,
                        delta: &delta_device,
                        first: range.first,
                        d_wte: &range.rows,
                        accumulate,
                    };
                    embedding_backward(recorder, op)?;
                }
                Ok(())
            })?;
            let (wte, _) =
                reference::embedding_batch_backward(&tokens, &wide(&delta), vocab, context, d, context);
            let mut occurs = vec![false; vocab];
            tokens.iter().for_each(|&token| occurs[token as usize] = true);
            // Tokens that do not occur keep what was there.
            let wanted: Vec<f64> = (0..vocab * d)
                .map(|i| match occurs[i / d] {
                    true if accumulate => wte[i] + f64::from(before[i]),
                    true => wte[i],
                    false => f64::from(before[i]),
                })
                .collect();
            let mut found = Vec::with_capacity(vocab * d);
            for range in &table {
                found.extend(bench.gpu.read(&range.rows)?);
            }
            let added = if accumulate { ", added" } else { "" };
            let case = format!("∂wte of {batch}×{context} tokens of {ends:?}, D={d}{added}");
            let rounding = Rounding::sum(rows).of_at_least(largest(&wanted).max(1.0));
            bench.compare_values(case, &found, &wanted, rounding);
        }
    }
    Ok(())
}

pub(super) fn position_gradients(bench: &mut Bench) -> Result<(), GpuError> {
    for (batch, context, d, _) in CASES {
        let positions = context + 3;
        let mut random = Random::new((batch * context * 1000 + d) as u64);
        let (delta, delta_device) = random.tensor(bench.gpu, [batch * context, d])?;
        // What was there is overwritten, positions that do not occur with 0.
        let (_, d_wpe) = random.tensor(bench.gpu, [positions, d])?;
        bench.run(|recorder| {
            let op = PositionEmbeddingBackward { delta: &delta_device, batch, context, d_wpe: &d_wpe };
            position_embedding_backward(recorder, op)
        })?;
        let tokens = vec![0; batch * context];
        let (_, wanted) =
            reference::embedding_batch_backward(&tokens, &wide(&delta), 1, positions, d, context);
        let case = format!("∂wpe of {batch}×{context} tokens, D={d}");
        bench.compare(case, &d_wpe, &wanted, Rounding::sum(batch).of_at_least(1.0))?;
    }
    Ok(())
}
