//! Embedding of tokens and positions, and the gradients of both tables, against f64.

mod harness;

use harness::{ROUNDING, Random, assert_close_at, gpu, largest, run, wide};
use retrograd_gpu::ops::{
    Embedding, EmbeddingBackward, PositionEmbeddingBackward, VocabRange, embedding, embedding_backward,
    position_embedding_backward,
};
use retrograd_reference::ops as reference;

/// The vocabulary cut at `ends`, on the device.
fn ranges(gpu: &retrograd_gpu::Gpu, wte: &[f32], d: usize, ends: &[usize], f16: bool) -> Vec<VocabRange> {
    let mut first = 0;
    ends.iter()
        .map(|&end| {
            let values = &wte[first * d..end * d];
            let dims = [end - first, d];
            let rows = if f16 {
                let bits: Vec<u16> = values.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
                gpu.upload_f16(dims, &bits).unwrap()
            } else {
                gpu.upload(dims, values).unwrap()
            };
            let range = VocabRange { first, rows };
            first = end;
            range
        })
        .collect()
}

#[test]
fn lookups_in_every_range() {
    let gpu = gpu();
    let cases: [(usize, usize, usize, &[usize]); 6] = [
        (1, 1, 1, &[1]),
        (1, 5, 3, &[11]),
        (2, 9, 64, &[5, 17]),
        (3, 37, 65, &[1, 2, 50]),
        (1, 64, 97, &[33, 66, 99]),
        (4, 8_500, 3, &[100, 129]),
    ];
    for (batch, context, d, ends) in cases {
        for f16 in [false, true] {
            for start in [0, 2] {
                let vocab = *ends.last().unwrap();
                let rows = batch * context;
                let mut random = Random::new((rows * 1000 + d) as u64);
                let mut wte = random.values(vocab * d);
                if f16 {
                    wte.iter_mut().for_each(|v| *v = half::f16::from_f32(*v).to_f32());
                }
                let (wpe, wpe_device) = random.tensor(gpu, [context + start, d]);
                let tokens: Vec<u32> = (0..rows).map(|_| random.below(vocab) as u32).collect();
                let table = ranges(gpu, &wte, d, ends, f16);
                let tokens_device = gpu.upload_u32([rows], &tokens).unwrap();
                let start_device = gpu.upload_u32([1], &[start as u32]).unwrap();
                let x = gpu.tensor([rows, d]).unwrap();
                run(gpu, |recorder| {
                    let op = Embedding {
                        tokens: &tokens_device,
                        start: &start_device,
                        context,
                        wte: &table,
                        wpe: &wpe_device,
                        x: &x,
                    };
                    embedding(recorder, op).unwrap();
                });
                let wpe = wide(&wpe[start * d..]);
                let wanted = reference::embedding_batch(&tokens, &wide(&wte), &wpe, d, context);
                // One addition of two exact numbers up to 1: half an ulp of a sum below 2.
                let what = format!("B={batch} T={context} D={d} {ends:?} f16={f16} start={start}");
                assert_close_at(&what, &gpu.read(&x).unwrap(), &wanted, 2.0 * ROUNDING, 1.0);
            }
        }
    }
}

/// Rows sorted by token, as the kernel wants them.
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

#[test]
fn gradients_of_both_tables() {
    let gpu = gpu();
    let cases: [(usize, usize, usize, &[usize]); 6] = [
        (1, 1, 1, &[1]),
        (1, 5, 3, &[11]),
        (2, 9, 64, &[5, 17]),
        (3, 37, 65, &[1, 2, 50]),
        // One token fills every row.
        (2, 300, 4, &[1]),
        (4, 8_500, 3, &[100, 129]),
    ];
    for (batch, context, d, ends) in cases {
        for accumulate in [false, true] {
            let vocab = *ends.last().unwrap();
            let positions = context + 3;
            let rows = batch * context;
            let mut random = Random::new((rows * 1000 + d) as u64);
            let tokens: Vec<u32> = (0..rows).map(|_| random.below(vocab) as u32).collect();
            let (delta, delta_device) = random.tensor(gpu, [rows, d]);
            let before = random.values(vocab * d);
            let table = ranges(gpu, &before, d, ends, false);
            let d_wpe = gpu.upload([positions, d], &random.values(positions * d)).unwrap();
            let (unique, offsets, order) = sorted(&tokens);
            let unique = gpu.upload_u32([rows], &unique).unwrap();
            let offsets = gpu.upload_u32([rows + 1], &offsets).unwrap();
            let order = gpu.upload_u32([rows], &order).unwrap();
            run(gpu, |recorder| {
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
                    embedding_backward(recorder, op).unwrap();
                }
                let op = PositionEmbeddingBackward { delta: &delta_device, batch, context, d_wpe: &d_wpe };
                position_embedding_backward(recorder, op).unwrap();
            });
            let (wte, wpe) =
                reference::embedding_batch_backward(&tokens, &wide(&delta), vocab, positions, d, context);
            // Tokens that do not occur keep what was there.
            let wanted: Vec<f64> = (0..vocab * d)
                .map(|i| match tokens.contains(&((i / d) as u32)) {
                    true if accumulate => wte[i] + f64::from(before[i]),
                    true => wte[i],
                    false => f64::from(before[i]),
                })
                .collect();
            let found: Vec<f32> = table.iter().flat_map(|range| gpu.read(&range.rows).unwrap()).collect();
            let what = format!("B={batch} T={context} D={d} {ends:?} accumulate={accumulate}");
            // Sums of at most `rows` numbers up to 1 with random signs.
            let bound = 4.0 * ((rows + 1) as f64).sqrt() * ROUNDING;
            assert_close_at(&what, &found, &wanted, bound, largest(&wanted).max(1.0));
            let bound = 4.0 * ((batch + 1) as f64).sqrt() * ROUNDING;
            assert_close_at(&what, &gpu.read(&d_wpe).unwrap(), &wpe, bound, largest(&wpe).max(1.0));
        }
    }
}
