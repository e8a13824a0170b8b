//! Embedding of tokens and positions, and the gradients of both tables.

use crate::bounds::{Bound, exact, given};
use crate::device::{agree, check, same, twice};
use crate::rounding::Rounding;
use crate::values::{extent, values};
use retrograd_gpu::ops::{self, Embedding, EmbeddingBackward, PositionEmbeddingBackward, VocabRange};

pub(crate) fn lookups() {
    let shapes = (extent(3), extent(70), extent(70), extent(40), extent(40), 0..3usize, values());
    check(shapes, |(batch, context, d, first, second, start, values)| {
        let (rows, vocabulary) = (batch * context, first + second);
        let mut source = values.start();
        let (wte, wpe) = (source.values(vocabulary * d), source.values((context + start) * d));
        let tokens = source.tokens(rows, vocabulary);
        let halves: Vec<half::f16> = wte.iter().map(|&value| half::f16::from_f32(value)).collect();
        let finite = halves.iter().all(|value| value.is_finite());
        for f16 in [false, true] {
            if f16 && !finite {
                continue;
            }
            let found = twice(|run| {
                let part = |from: usize, count: usize| {
                    let (range, dims) = (from * d..(from + count) * d, [count, d]);
                    let bits: Vec<u16> = halves[range.clone()].iter().map(|value| value.to_bits()).collect();
                    let rows =
                        if f16 { run.gpu.upload_f16(dims, &bits) } else { run.input(dims, &wte[range]) }?;
                    Ok::<_, retrograd_gpu::GpuError>(VocabRange { first: from, rows })
                };
                let table = [part(0, first)?, part(first, second)?];
                let (tokens, position) =
                    (run.input_u32([rows], &tokens)?, run.input_u32([1], &[start as u32])?);
                let (wpe, x) = (run.input([context + start, d], &wpe)?, run.output([rows, d])?);
                run.run(|recorder| {
                    let op = Embedding {
                        tokens: &tokens,
                        start: &position,
                        context,
                        wte: &table,
                        wpe: &wpe,
                        x: &x,
                    };
                    ops::embedding(recorder, op)
                })?;
                Ok(vec![x])
            })?;
            let sum = |i: usize| {
                let (row, column) = (i / d, i % d);
                let at = tokens[row] as usize * d + column;
                let token = if f16 { halves[at].to_f32() } else { wte[at] };
                exact(token) + exact(wpe[(row % context + start) * d + column])
            };
            let wanted: Vec<Bound> = (0..rows * d).map(sum).collect();
            agree(if f16 { "x, f16" } else { "x" }, &found[0], &wanted, Rounding::steps(1.0))?;
        }
        Ok(())
    });
}

pub(crate) fn token_gradients() {
    let shapes = (extent(200), extent(40), extent(20), extent(20), proptest::bool::ANY, values());
    check(shapes, |(rows, d, first, second, accumulate, values)| {
        let vocabulary = first + second;
        let mut source = values.start();
        let (delta, before) = (source.values(rows * d), source.values(vocabulary * d));
        let tokens = source.tokens(rows, vocabulary);
        // Rows by token, as the operation wants them: distinct tokens, where each one's rows begin, the rows.
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_by_key(|&row| (tokens[row as usize], row));
        let (mut unique, mut offsets): (Vec<u32>, Vec<u32>) = (vec![], vec![]);
        for (at, &row) in order.iter().enumerate() {
            if unique.last() != Some(&tokens[row as usize]) {
                unique.push(tokens[row as usize]);
                offsets.push(at as u32);
            }
        }
        unique.resize(rows, 0);
        offsets.resize(rows + 1, rows as u32);
        let found = twice(|run| {
            let (unique, offsets) = (run.input_u32([rows], &unique)?, run.input_u32([rows + 1], &offsets)?);
            let (order, delta) = (run.input_u32([rows], &order)?, run.input([rows, d], &delta)?);
            let tables = [
                run.gpu.upload([first, d], &before[..first * d])?,
                run.gpu.upload([second, d], &before[first * d..])?,
            ];
            run.run(|recorder| {
                for (first, d_wte) in [(0, &tables[0]), (first, &tables[1])] {
                    let op = EmbeddingBackward {
                        unique: &unique,
                        offsets: &offsets,
                        order: &order,
                        delta: &delta,
                        first,
                        d_wte,
                        accumulate,
                    };
                    ops::embedding_backward(recorder, op)?;
                }
                Ok(())
            })?;
            Ok(tables.into())
        })?;
        let found = found.concat();
        for token in 0..vocabulary {
            let at = token * d..(token + 1) * d;
            let of: Vec<usize> = (0..rows).filter(|&row| tokens[row] as usize == token).collect();
            if of.is_empty() {
                same("a token that does not occur", &found[at.clone()], &before[at])?;
                continue;
            }
            let sum = |j: usize| {
                let sum: Bound = of.iter().map(|row| exact(delta[row * d + j])).sum();
                if accumulate { exact(before[token * d + j]) + sum } else { sum }
            };
            let wanted: Vec<Bound> = (0..d).map(sum).collect();
            agree("∂wte", &found[at], &wanted, Rounding::sum(rows))?;
        }
        Ok(())
    });
}

pub(crate) fn position_gradients() {
    check((extent(70), extent(40), extent(40), extent(4), values()), |(batch, context, d, spare, values)| {
        let positions = context + spare - 1;
        let delta = values.start().values(batch * context * d);
        let found = twice(|run| {
            let (delta, d_wpe) = (run.input([batch * context, d], &delta)?, run.output([positions, d])?);
            run.run(|recorder| {
                let op = PositionEmbeddingBackward { delta: &delta, batch, context, d_wpe: &d_wpe };
                ops::position_embedding_backward(recorder, op)
            })?;
            Ok(vec![d_wpe])
        })?;
        let sum = |i: usize| match i / d < context {
            true => (0..batch).map(|sequence| exact(delta[sequence * context * d + i])).sum(),
            // Positions that do not occur.
            false => given(0.0),
        };
        let wanted: Vec<Bound> = (0..positions * d).map(sum).collect();
        agree("∂wpe", &found[0], &wanted, Rounding::sum(batch))
    });
}
