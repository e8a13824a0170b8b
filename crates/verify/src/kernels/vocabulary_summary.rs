//! What is read of rows of logits: softmax statistics, the ends of the order, ranks; the vocabulary in pieces.

use super::bench::Bench;
use crate::random::{Random, wide};
use crate::report::largest;
use crate::rounding::{ROUNDING, Rounding};
use retrograd_gpu::ops::{self, NO_TOKEN, RankedTokens, VocabularySummary};
use retrograd_gpu::{Dtype, Gpu, GpuError, HostData, Tensor};
use retrograd_reference::ops as reference;

/// (rows, where pieces end, places, ranked tokens)
type Case = (usize, &'static [usize], usize, usize);

const CASES: [Case; 9] = [
    (1, &[1], 1, 1),
    (1, &[7], 5, 2),
    (3, &[4, 9], 2, 0),
    (5, &[1, 2, 33], 5, 1),
    (9, &[64, 97], 5, 4),
    (2, &[1000, 2000, 2003], 8, 5),
    (2, &[8, 131], 9, 9),
    (2, &[25_128, 25_129, 50_257], 5, 2),
    (1, &[65_536], 3, 1),
];

pub(super) fn vocabulary_summary(bench: &mut Bench) -> Result<(), GpuError> {
    for (rows, ends, k, ranked) in CASES {
        let v = ends.last().copied().unwrap_or(0);
        let mut random = Random::new((rows * 31 + v) as u64);
        let logits: Vec<f32> = random.values(rows * v).iter().map(|x| 12.0 * x).collect();
        check(bench, &logits, ends, k, &tokens(&mut random, v, ranked))?;
    }
    // Six different values: every list is full of ties, which the smaller token wins.
    let mut random = Random::new(131);
    let ties: Vec<f32> = (0..3 * 131).map(|_| random.below(6) as f32 - 2.0).collect();
    check(bench, &ties, &[43, 131], 11, &[0, 130])
}

/// The last token and any others.
fn tokens(random: &mut Random, v: usize, count: usize) -> Vec<u32> {
    (0..count).map(|i| if i == 0 { v - 1 } else { random.below(v) } as u32).collect()
}

fn check(
    bench: &mut Bench,
    logits: &[f32],
    ends: &[usize],
    k: usize,
    tokens: &[u32],
) -> Result<(), GpuError> {
    let v = ends.last().copied().unwrap_or(0);
    let found = summarise(bench, logits, ends, k, tokens)?;
    let given: Vec<usize> = tokens.iter().map(|&token| token as usize).collect();
    for (row, (found, logits)) in found.iter().zip(logits.chunks_exact(v)).enumerate() {
        let x = wide(logits);
        let wanted = reference::vocabulary_summary(&x, k, &given);
        let case = |what: &str| format!("{what} of row {row}, pieces {ends:?}, {k} places");
        // The sum's logarithm has its relative error absolutely, and each exponent a rounding of its size.
        let rounding = Rounding::sum(v).exponential().plus(largest(&x) * ROUNDING / 2.0).of_at_least(1.0);
        bench.compare_values(case("log Z"), &[found.log_z as f32], &[wanted.log_sum_exp], rounding);
        // The entropy sums terms p·log p, up to log v of them in size.
        let rounding = rounding.times(1.0 + (v as f64).ln());
        bench.compare_values(case("entropy"), &[found.entropy as f32], &[wanted.entropy], rounding);
        for (what, found, wanted) in [
            ("the largest", &found.top, &wanted.top),
            ("the smallest", &found.bottom, &wanted.bottom),
            ("ranks", &found.ranks, &wanted.ranks),
        ] {
            let wanted: Vec<f32> = wanted.iter().map(|&id| id as f32).collect();
            let found: Vec<f32> = found.iter().map(|&id| id as f32).collect();
            bench.exactly(case(what), &found, &wanted);
        }
    }
    Ok(())
}

/// The joined parts of one row.
struct Joined {
    log_z: f64,
    entropy: f64,
    top: Vec<u32>,
    bottom: Vec<u32>,
    ranks: Vec<u32>,
}

/// Runs the operation over pieces that end at `ends` and joins what it wrote.
fn summarise(
    bench: &Bench,
    logits: &[f32],
    ends: &[usize],
    k: usize,
    tokens: &[u32],
) -> Result<Vec<Joined>, GpuError> {
    let gpu = bench.gpu;
    let v = ends.last().copied().unwrap_or(0);
    let (rows, pieces, g) = (logits.len() / v, ends.len(), tokens.len());
    let stats = gpu.tensor([rows, pieces, 3])?;
    let values = gpu.tensor([rows, pieces, 2, k])?;
    let ids = gpu.allocate([rows, pieces, 2, k].into(), Dtype::U32)?;
    // One token more than none: a tensor has elements.
    let larger = gpu.allocate([rows, pieces, g.max(1)].into(), Dtype::U32)?;
    let wanted = gpu.upload_u32([g.max(1)], if g > 0 { tokens } else { &[0] })?;
    let own = |row: &[f32]| -> Vec<f32> { tokens.iter().map(|&token| row[token as usize]).collect() };
    let given: Vec<f32> = logits.chunks_exact(v).flat_map(own).collect();
    let given = if g > 0 { gpu.upload([rows, g], &given)? } else { gpu.tensor([rows, 1])? };
    let ranked = RankedTokens { tokens: &wanted, logits: &given, larger: &larger };
    let mut first = 0;
    for (piece, &end) in ends.iter().enumerate() {
        let part: Vec<f32> = logits.chunks_exact(v).flat_map(|row| row[first..end].to_vec()).collect();
        let part = gpu.upload([rows, end - first], &part)?;
        bench.run(|recorder| {
            let op = VocabularySummary {
                logits: &part,
                first,
                piece: (piece, pieces),
                ranked: (g > 0).then_some(ranked),
                stats: &stats,
                values: &values,
                ids: &ids,
            };
            ops::vocabulary_summary(recorder, op)
        })?;
        first = end;
    }
    let (stats, values) = (wide(&gpu.read(&stats)?), gpu.read(&values)?);
    let (ids, larger) = (read_u32(gpu, &ids)?, read_u32(gpu, &larger)?);
    let joined = (0..rows).map(|row| {
        let parts = &stats[row * pieces * 3..][..pieces * 3];
        let m = parts.chunks_exact(3).fold(f64::NEG_INFINITY, |m, part| m.max(part[0]));
        let (mut s, mut h) = (0.0, 0.0);
        for part in parts.chunks_exact(3) {
            let shrink = (part[0] - m).exp();
            s += part[1] * shrink;
            h += (part[2] + part[1] * (part[0] - m)) * shrink;
        }
        let list = |half: usize| {
            let places = (0..pieces).flat_map(|piece| {
                let at = ((row * pieces + piece) * 2 + half) * k;
                (at..at + k).map(|at| (values[at], ids[at]))
            });
            let mut all: Vec<(f32, u32)> = places.filter(|(_, id)| *id != NO_TOKEN).collect();
            all.sort_by(|a, b| {
                let order = a.0.total_cmp(&b.0);
                (if half == 0 { order.reverse() } else { order }).then(a.1.cmp(&b.1))
            });
            all.truncate(k);
            all.into_iter().map(|(_, id)| id).collect()
        };
        let rank = |token: usize| (0..pieces).map(|piece| larger[(row * pieces + piece) * g + token]).sum();
        let ranks = (0..g).map(rank).collect();
        Joined { log_z: m + s.ln(), entropy: s.ln() - h / s, top: list(0), bottom: list(1), ranks }
    });
    Ok(joined.collect())
}

fn read_u32(gpu: &Gpu, tensor: &Tensor) -> Result<Vec<u32>, GpuError> {
    Ok(match gpu.read_many(&[tensor])?.pop() {
        Some(HostData::U32(values)) => values,
        _ => Vec::new(),
    })
}
