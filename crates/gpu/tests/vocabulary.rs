//! What is read of rows of logits, the vocabulary in pieces, against the f64 twin.

mod harness;

use harness::{ROUNDING, Random, gpu, open, run, wide};
use retrograd_gpu::ops::{NO_TOKEN, RankedTokens, VocabularySummary, vocabulary_summary};
use retrograd_gpu::{Dtype, Gpu, GpuOptions, HostData, Tensor};
use retrograd_reference::ops as reference;

/// The joined parts of one row.
struct Joined {
    log_sum_exp: f64,
    entropy: f64,
    top: Vec<u32>,
    bottom: Vec<u32>,
    ranks: Vec<u32>,
}

fn u32s(gpu: &Gpu, tensor: &Tensor) -> Vec<u32> {
    match gpu.read_many(&[tensor]).unwrap().pop() {
        Some(HostData::U32(values)) => values,
        _ => panic!("not u32"),
    }
}

/// Runs the operation over pieces that end at `ends` and joins what it wrote.
fn summarise(
    gpu: &Gpu,
    logits: &[f32],
    rows: usize,
    ends: &[usize],
    k: usize,
    tokens: &[u32],
) -> Vec<Joined> {
    let v = *ends.last().unwrap();
    let (pieces, g) = (ends.len(), tokens.len());
    let stats = gpu.tensor([rows, pieces, 3]).unwrap();
    let values = gpu.tensor([rows, pieces, 2, k]).unwrap();
    let ids = gpu.allocate([rows, pieces, 2, k].into(), Dtype::U32).unwrap();
    let larger = gpu.allocate([rows, pieces, g].into(), Dtype::U32).unwrap();
    let wanted = gpu.upload_u32([g], tokens).unwrap();
    let given: Vec<f32> =
        logits.chunks_exact(v).flat_map(|row| tokens.iter().map(|&t| row[t as usize])).collect();
    let given = gpu.upload([rows, g], &given).unwrap();
    let ranked = RankedTokens { tokens: &wanted, logits: &given, larger: &larger };
    let mut first = 0;
    for (piece, &end) in ends.iter().enumerate() {
        let part: Vec<f32> = logits.chunks_exact(v).flat_map(|row| row[first..end].to_vec()).collect();
        let part = gpu.upload([rows, end - first], &part).unwrap();
        run(gpu, |recorder| {
            let op = VocabularySummary {
                logits: &part,
                first,
                piece: (piece, pieces),
                ranked: (g > 0).then_some(ranked),
                stats: &stats,
                values: &values,
                ids: &ids,
            };
            vocabulary_summary(recorder, op).unwrap();
        });
        first = end;
    }
    let (stats, values, ids) = (gpu.read(&stats).unwrap(), gpu.read(&values).unwrap(), u32s(gpu, &ids));
    let larger = if g > 0 { u32s(gpu, &larger) } else { Vec::new() };
    (0..rows)
        .map(|row| {
            let stats = wide(&stats[row * pieces * 3..][..pieces * 3]);
            let m = stats.chunks(3).fold(f64::NEG_INFINITY, |m, part| m.max(part[0]));
            let (mut s, mut h) = (0.0, 0.0);
            for part in stats.chunks(3) {
                let shrink = (part[0] - m).exp();
                s += part[1] * shrink;
                h += (part[2] + part[1] * (part[0] - m)) * shrink;
            }
            let list = |half: usize| {
                let mut all: Vec<(f32, u32)> = (0..pieces)
                    .flat_map(|piece| {
                        let at = ((row * pieces + piece) * 2 + half) * k;
                        values[at..at + k].iter().copied().zip(ids[at..at + k].iter().copied())
                    })
                    .filter(|(_, id)| *id != NO_TOKEN)
                    .collect();
                // Each part is in order already: a stable sort by value alone would have to agree.
                all.sort_by(|a, b| {
                    let order = a.0.total_cmp(&b.0);
                    (if half == 0 { order.reverse() } else { order }).then(a.1.cmp(&b.1))
                });
                all.truncate(k);
                for (value, id) in &all {
                    assert_eq!(
                        *value,
                        logits[row * v + *id as usize],
                        "the value of token {id} in row {row}"
                    );
                }
                all.into_iter().map(|(_, id)| id).collect()
            };
            let ranks = (0..g)
                .map(|token| (0..pieces).map(|piece| larger[(row * pieces + piece) * g + token]).sum())
                .collect();
            Joined { log_sum_exp: m + s.ln(), entropy: s.ln() - h / s, top: list(0), bottom: list(1), ranks }
        })
        .collect()
}

/// Compares every row with the twin.
fn check(gpu: &Gpu, logits: &[f32], rows: usize, ends: &[usize], k: usize, tokens: &[u32]) {
    let v = *ends.last().unwrap();
    let found = summarise(gpu, logits, rows, ends, k, tokens);
    let given: Vec<usize> = tokens.iter().map(|&t| t as usize).collect();
    for (row, found) in found.iter().enumerate() {
        let x = wide(&logits[row * v..][..v]);
        let wanted = reference::vocabulary_summary(&x, k, &given);
        let what = format!("row {row} of {rows}, pieces {ends:?}, k {k}");
        let as_usize = |ids: &[u32]| ids.iter().map(|&id| id as usize).collect::<Vec<_>>();
        assert_eq!(as_usize(&found.top), wanted.top, "top, {what}");
        assert_eq!(as_usize(&found.bottom), wanted.bottom, "bottom, {what}");
        assert_eq!(as_usize(&found.ranks), wanted.ranks, "ranks, {what}");
        // v exponentials are summed in f32, each with a rounding of its argument (|x| at most `magnitude`)
        // and its own; the sum's logarithm then has that error absolutely.
        let magnitude = x.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let bound = (4.0 * ((v + 16) as f64).sqrt() + 2.0 * magnitude + 8.0) * ROUNDING;
        let (lse, entropy) = (found.log_sum_exp - wanted.log_sum_exp, found.entropy - wanted.entropy);
        assert!(lse.abs() <= bound, "log-sum-exp off by {lse:.1e} of {bound:.1e}, {what}");
        // The entropy sums terms p·log p, up to log v of them in size.
        let bound = bound * (1.0 + (v as f64).ln());
        assert!(entropy.abs() <= bound, "entropy off by {entropy:.1e} of {bound:.1e}, {what}");
    }
}

fn random_tokens(random: &mut Random, v: usize, count: usize) -> Vec<u32> {
    (0..count).map(|i| if i == 0 { v as u32 - 1 } else { random.below(v) as u32 }).collect()
}

#[test]
fn summaries_over_pieces_of_every_size() {
    // (rows, where pieces end, places, tokens)
    let cases: [(usize, &[usize], usize, usize); 12] = [
        (1, &[1], 1, 1),
        (1, &[7], 5, 2),
        (3, &[4, 9], 2, 0),
        (5, &[1, 2, 33], 5, 1),
        (9, &[64, 97], 5, 4),
        (2, &[1000, 2000, 2003], 8, 5),
        (2, &[8, 131], 9, 9),
        (1, &[257], 257, 2),
        (3, &[4, 20], 20, 1),
        (2, &[25_128, 25_129, 50_257], 5, 2),
        (1, &[65_536], 3, 1),
        (33_000, &[3], 1, 1),
    ];
    for (rows, ends, k, g) in cases {
        let v = *ends.last().unwrap();
        let mut random = Random::new((rows * 31 + v) as u64);
        let logits: Vec<f32> = random.values(rows * v).iter().map(|x| 12.0 * x).collect();
        let tokens = random_tokens(&mut random, v, g);
        check(gpu(), &logits, rows, ends, k, &tokens);
    }
}

#[test]
fn equal_logits_are_ordered_by_token() {
    for (v, k) in [(64, 5), (131, 11), (4096, 8)] {
        let mut random = Random::new(v as u64);
        // Six different values: every list is full of ties.
        let mut logits: Vec<f32> = (0..3 * v).map(|_| random.below(6) as f32 - 2.0).collect();
        logits[..v].fill(1.5);
        check(gpu(), &logits, 3, &[v / 3, v], k, &[0, v as u32 - 1]);
    }
}

#[test]
fn sorted_logits_put_every_element_into_a_list() {
    let v = 65_536;
    let ascending: Vec<f32> = (0..v).map(|i| i as f32 / 4096.0).collect();
    let descending: Vec<f32> = ascending.iter().rev().copied().collect();
    // Far apart in every quad: both lists grow at each of them.
    let both: Vec<f32> = (0..v).map(|i| if i % 2 == 0 { i as f32 } else { -(i as f32) } / 4096.0).collect();
    for logits in [ascending, descending, both] {
        check(gpu(), &logits, 1, &[v], 8, &[0, 40_000]);
    }
}

#[test]
fn extreme_logits() {
    let mut random = Random::new(8);
    let logits: Vec<f32> = random.values(4 * 300).iter().map(|x| x * 1e4).collect();
    check(gpu(), &logits, 4, &[100, 300], 5, &[3, 299]);
    // One token certain, the others far below what exp can hold.
    let mut certain = vec![-1e30f32; 257];
    certain[200] = 1e30;
    let found = summarise(gpu(), &certain, 1, &[256, 257], 2, &[200, 0]).remove(0);
    assert_eq!((found.entropy, found.ranks, found.top), (0.0, vec![0, 1], vec![200, 0]));
}

#[test]
fn the_same_within_webgpu_limits() {
    let gpu = open(GpuOptions { webgpu_defaults: true, ..GpuOptions::default() });
    let mut random = Random::new(77);
    for (rows, ends, k) in [(5, [33, 1031], 5), (3, [64, 128], 10)] {
        let v = ends[1];
        let logits = random.values(rows * v);
        let tokens = random_tokens(&mut random, v, 3);
        check(&gpu, &logits, rows, &ends, k, &tokens);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let gpu = gpu();
    let logits = gpu.tensor([2, 5]).unwrap();
    let (stats, values) = (gpu.tensor([2, 1, 3]).unwrap(), gpu.tensor([2, 1, 2, 4]).unwrap());
    let ids = gpu.allocate([2, 1, 2, 3].into(), Dtype::U32).unwrap();
    let mut recorder = retrograd_gpu::Recorder::new(gpu);
    let op = VocabularySummary {
        logits: &logits,
        first: 0,
        piece: (0, 1),
        ranked: None,
        stats: &stats,
        values: &values,
        ids: &ids,
    };
    let error = vocabulary_summary(&mut recorder, op).unwrap_err().to_string();
    assert!(error.contains("ids has shape [2, 1, 2, 3], expected [2, 1, 2, 4]"), "{error}");
    let error = vocabulary_summary(&mut recorder, VocabularySummary { piece: (1, 1), ..op });
    assert!(error.is_err());
}
