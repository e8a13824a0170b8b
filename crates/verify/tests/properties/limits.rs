//! The ends of what operations take: loops of almost as many iterations as lavapipe allows.
//!
//! lavapipe silently ends the loops of an invocation after 65,535 iterations: what comes after is missing from a sum.
//! Operations refuse, or split, from 60,000 on.

use crate::bounds::{Bound, exact, given};
use crate::device::{agree, gpu, same};
use crate::rounding::Rounding;
use crate::values::{Kind, Source, Values};
use retrograd_gpu::ops::{
    self, AttentionDecode, ColumnSum, CrossEntropy, EmbeddingBackward, Form, Gemm, GemmVariant, HeadProducts,
    LayerNorm, LayerNormBackward, MapNorms, PositionEmbeddingBackward, VocabularySummary,
};
use retrograd_gpu::{Dtype, Gpu, GpuError, Recorder, Tensor};

/// As `crates/gpu/src/ops/expect.rs` has it.
const MOST_ITERATIONS: usize = 60_000;

pub(crate) fn run(record: impl FnOnce(&mut Recorder) -> Result<(), GpuError>) {
    let mut recorder = Recorder::new(gpu());
    record(&mut recorder).unwrap();
    let pass = recorder.finish().unwrap();
    gpu().run(&pass).unwrap();
    gpu().wait().unwrap();
}

/// What is beyond the limit is refused, and why is said.
fn refused(record: impl FnOnce(&mut Recorder) -> Result<(), GpuError>) {
    let error = record(&mut Recorder::new(gpu())).unwrap_err().to_string();
    assert!(error.contains("loop iterations"), "{error}");
}

pub(crate) fn source() -> Source {
    Values { kind: Kind::Plain, seed: 1 }.start()
}

fn ones<const N: usize>(dims: [usize; N]) -> Tensor {
    gpu().upload(dims, &vec![1.0; dims.iter().product()]).unwrap()
}

pub(crate) fn zeros<const N: usize>(dims: [usize; N]) -> Tensor {
    gpu().tensor(dims).unwrap()
}

/// Elements of a row that are so many iterations of one of the lanes that share it: no quads, the last lane one short.
fn row_of(iterations: usize) -> usize {
    iterations * gpu().capabilities().row_lanes as usize - 1
}

/// The same where a GPU gives a row of a vocabulary's length four times as many lanes.
fn long_row_of(iterations: usize) -> usize {
    let times = if gpu().capabilities().row_lanes >= 64 { 4 } else { 1 };
    row_of(times * iterations)
}

/// Sums of ones, which are exact, so that one that is missing shows.
#[test]
fn long_rows_are_summed_to_their_end() {
    let count = row_of(MOST_ITERATIONS);
    let norm = |recorder: &mut Recorder, count: usize, out: &Tensor| {
        let (maps, row_sums) = (ones([1, 1, count]), zeros([1, 1]));
        ops::map_norms(recorder, MapNorms { maps: &maps, row_sums: &row_sums, out, out_index: 0 })
    };
    let out = zeros([1]);
    run(|recorder| norm(recorder, count, &out));
    agree("‖1‖", &gpu().read(&out).unwrap(), &[given((count as f64).sqrt())], Rounding::steps(4.0)).unwrap();
    refused(|recorder| norm(recorder, count + 2, &out));

    let product = |recorder: &mut Recorder, count: usize, out: &Tensor| {
        let x = ones([1, count]);
        ops::head_products(recorder, HeadProducts { a: &x, b: &x, batch: 1, heads: 1, out, out_index: 0 })
    };
    run(|recorder| product(recorder, count, &out));
    assert_eq!(gpu().read(&out).unwrap(), [count as f32]);
    refused(|recorder| product(recorder, count + 2, &out));
}

#[test]
fn long_rows_are_normalised() {
    let forward = |recorder: &mut Recorder, d: usize, y: &Tensor, stats: &Tensor| {
        // Half of it 1, half of it 3: μ = 2 and σ = 1, but for the one that has no partner.
        let x: Vec<f32> = (0..d).map(|j| if j < d / 2 { 1.0 } else { 3.0 }).collect();
        let x = gpu().upload([1, d], &x).unwrap();
        let (gamma, beta) = (ones([d]), zeros([d]));
        let op = LayerNorm { x: &x, x_row: 0, gamma: &gamma, beta: &beta, epsilon: 1e-5, y, stats };
        ops::layer_norm(recorder, op)
    };
    let d = row_of(MOST_ITERATIONS / 3);
    let (y, stats) = (zeros([1, d]), zeros([1, 2]));
    run(|recorder| forward(recorder, d, &y, &stats));
    let found = gpu().read(&stats).unwrap();
    assert!((found[0] - 2.0).abs() < 1e-4 && (found[1] - 1.0).abs() < 1e-4, "{found:?}");
    let y = gpu().read(&y).unwrap();
    assert!(y.iter().enumerate().all(|(j, y)| (y - if j < d / 2 { -1.0 } else { 1.0 }).abs() < 1e-3));
    refused(|recorder| forward(recorder, d + 2, &zeros([1, d + 2]), &stats));

    let backward = |recorder: &mut Recorder, d: usize, dx: &Tensor| {
        // x̂ = 0, so that ∂x = (h − mean(h))/σ.
        let (x, gamma) = (zeros([1, d]), ones([d]));
        let dy: Vec<f32> = (0..d).map(|j| if j < d / 2 { 1.0 } else { 3.0 }).collect();
        let (dy, stats) = (gpu().upload([1, d], &dy).unwrap(), gpu().upload([1, 2], &[0.0, 1.0]).unwrap());
        let op =
            LayerNormBackward { dy: &dy, x: &x, x_row: 0, gamma: &gamma, stats: &stats, upstream: None, dx };
        ops::layer_norm_backward(recorder, op)
    };
    let d = row_of(MOST_ITERATIONS / 2);
    let dx = zeros([1, d]);
    run(|recorder| backward(recorder, d, &dx));
    let dx = gpu().read(&dx).unwrap();
    assert!(dx.iter().enumerate().all(|(j, dx)| (dx - if j < d / 2 { -1.0 } else { 1.0 }).abs() < 1e-3));
    refused(|recorder| backward(recorder, d + 2, &zeros([1, d + 2])));
}

#[test]
fn long_rows_of_logits_are_read_to_their_end() {
    let loss = |recorder: &mut Recorder, v: usize, loss: &Tensor| {
        let (logits, delta) = ([ones([1, v])], [zeros([1, v])]);
        let (targets, row_loss) = (gpu().upload_u32([1], &[v as u32 - 1]).unwrap(), zeros([1]));
        let op = CrossEntropy {
            logits: &logits,
            targets: &targets,
            mean_over: 1,
            delta: &delta,
            row_loss: &row_loss,
            loss,
        };
        ops::cross_entropy(recorder, op)
    };
    let (v, out) = (long_row_of(MOST_ITERATIONS / 2), zeros([1]));
    run(|recorder| loss(recorder, v, &out));
    agree("log V", &gpu().read(&out).unwrap(), &[given((v as f64).ln())], Rounding::steps(16.0)).unwrap();
    refused(|recorder| loss(recorder, v + 2, &out));

    let summary = |recorder: &mut Recorder, v: usize, stats: &Tensor, values: &Tensor, ids: &Tensor| {
        // The largest is the last.
        let mut logits = vec![1.0; v];
        logits[v - 1] = 1.5;
        let logits = gpu().upload([1, v], &logits).unwrap();
        let op =
            VocabularySummary { logits: &logits, first: 0, piece: (0, 1), ranked: None, stats, values, ids };
        ops::vocabulary_summary(recorder, op)
    };
    // Three looks, and eight places.
    let v = row_of((MOST_ITERATIONS - 8) / 3);
    let (stats, values) = (zeros([1, 1, 3]), zeros([1, 1, 2, 2]));
    let ids = gpu().allocate([1, 1, 2, 2].into(), Dtype::U32).unwrap();
    run(|recorder| summary(recorder, v, &stats, &values, &ids));
    let e = (-0.5f64).exp() * (v - 1) as f64;
    let wanted = [given(1.5), given(1.0 + e), given(-0.5 * e)];
    agree("m, Σ e, Σ e·(x − m)", &gpu().read(&stats).unwrap(), &wanted, Rounding::sum(v).exponential())
        .unwrap();
    same("places", &gpu().read(&values).unwrap(), &[1.5, 1.0, 1.0, 1.0]).unwrap();
    refused(|recorder| summary(recorder, v + 2, &stats, &values, &ids));

    // The longest way through: every logit belongs into a list, the largest of lanes that go up and the smallest of lanes
    // that go down.
    let lanes = gpu().capabilities().row_lanes as usize;
    for v in [v, (v + 1) / 4 * 4] {
        let items = |j: usize| if v % 4 == 0 { j / 4 } else { j };
        let logits: Vec<f32> = (0..v)
            .map(|j| if items(j) % lanes < lanes / 2 { j as f32 } else { -(j as f32) } / v as f32)
            .collect();
        let device = gpu().upload([1, v], &logits).unwrap();
        run(|recorder| {
            let piece = (0, 1);
            let (stats, values, ids) = (&stats, &values, &ids);
            let op = VocabularySummary { logits: &device, first: 0, piece, ranked: None, stats, values, ids };
            ops::vocabulary_summary(recorder, op)
        });
        let mut order = logits.clone();
        order.sort_by(f32::total_cmp);
        let wanted = [order[v - 1], order[v - 2], order[0], order[1]];
        same(&format!("places of {v} logits"), &gpu().read(&values).unwrap(), &wanted).unwrap();
        let e: Bound = logits.iter().map(|x| given((f64::from(*x) - f64::from(order[v - 1])).exp())).sum();
        let found = gpu().read(&stats).unwrap();
        agree("Σ e", &found[1..2], &[e], Rounding::sum(v).exponential()).unwrap();
    }
}

/// The longest inner extent that a product takes.
fn longest_product(form: Form) -> usize {
    match (gpu().gemm_variant(), form) {
        // Four at a time, and one more iteration for each slab of 16.
        (GemmVariant::Workgroup, _) => MOST_ITERATIONS / 5 * 16,
        (_, Form::TN) => MOST_ITERATIONS,
        // Four at a time.
        (_, Form::NN | Form::NT) => 4 * MOST_ITERATIONS,
    }
}

#[test]
fn long_products_are_summed_to_their_end() {
    fn product<'a>(form: Form, a: &'a Tensor, b: &'a Tensor, c: &'a Tensor) -> Gemm<'a> {
        match form {
            Form::NN => Gemm::nn(a, b, c),
            Form::NT => Gemm::nt(a, b, c),
            Form::TN => Gemm::tn(a, b, c),
        }
    }
    let operands = |form: Form, m: usize, n: usize, k: usize| match form {
        Form::NN => (ones([m, k]), ones([k, n])),
        Form::NT => (ones([m, k]), ones([n, k])),
        Form::TN => (ones([k, m]), ones([k, n])),
    };
    for form in [Form::NN, Form::NT, Form::TN] {
        let longest = longest_product(form);
        // One row, few and many are computed differently; whole quads, and one short of them.
        for (m, n, k) in [(1, 5, longest), (3, 4, longest - 1), (17, 8, longest), (17, 3, longest - 1)] {
            let ((a, b), c) = (operands(form, m, n, k), zeros([m, n]));
            run(|recorder| ops::gemm(recorder, product(form, &a, &b, &c)));
            let found = gpu().read(&c).unwrap();
            assert!(found.iter().all(|sum| *sum == k as f32), "{form:?} {m}×{n}×{k}: {found:?}");
        }
        let ((a, b), c) = (operands(form, 1, 1, longest + 20), zeros([1, 1]));
        refused(|recorder| ops::gemm(recorder, product(form, &a, &b, &c)));
    }
}

#[test]
fn gradients_of_many_rows_are_summed_to_their_end() {
    let token = |recorder: &mut Recorder, rows: usize, out: &Tensor| {
        // One token fills every row.
        let (mut unique, mut offsets) = (vec![0; rows], vec![rows as u32; rows + 1]);
        (unique[0], offsets[0]) = (0, 0);
        let order: Vec<u32> = (0..rows as u32).collect();
        let (unique, offsets) =
            (gpu().upload_u32([rows], &unique).unwrap(), gpu().upload_u32([rows + 1], &offsets).unwrap());
        let (order, delta) = (gpu().upload_u32([rows], &order).unwrap(), ones([rows, 1]));
        let op = EmbeddingBackward {
            unique: &unique,
            offsets: &offsets,
            order: &order,
            delta: &delta,
            first: 0,
            d_wte: out,
            accumulate: false,
        };
        ops::embedding_backward(recorder, op)
    };
    let position = |recorder: &mut Recorder, batch: usize, out: &Tensor| {
        let delta = ones([batch, 1]);
        let op = PositionEmbeddingBackward { delta: &delta, batch, context: 1, d_wpe: out };
        ops::position_embedding_backward(recorder, op)
    };
    let out = zeros([1, 1]);
    run(|recorder| token(recorder, MOST_ITERATIONS, &out));
    assert_eq!(gpu().read(&out).unwrap(), [MOST_ITERATIONS as f32]);
    refused(|recorder| token(recorder, MOST_ITERATIONS + 1, &out));
    run(|recorder| position(recorder, MOST_ITERATIONS, &out));
    assert_eq!(gpu().read(&out).unwrap(), [MOST_ITERATIONS as f32]);
    refused(|recorder| position(recorder, MOST_ITERATIONS + 1, &out));
    // Sums that are split have no limit.
    for rows in [65_535, 65_536, 70_001] {
        let (x, out) = (ones([rows, 1]), zeros([1]));
        run(|recorder| ops::column_sum(recorder, ColumnSum { x: &x, first_column: 0, out: &out }));
        assert_eq!(gpu().read(&out).unwrap(), [rows as f32]);
    }
}

/// A step over a cache of `capacity` tokens that all weigh the same: o is the mean of v.
pub(crate) fn decode(
    gpu: &Gpu,
    capacity: usize,
    heads: usize,
    width: usize,
) -> Result<(Vec<f32>, Vec<Bound>), GpuError> {
    let d = heads * width;
    let mut source = source();
    // q and k are 0, so that every score is.
    let row = |source: &mut Source| -> Vec<f32> {
        (0..3 * d).map(|i| if i < 2 * d { 0.0 } else { source.plain() }).collect()
    };
    let mut rows: Vec<f32> = Vec::with_capacity(capacity * 3 * d);
    (0..capacity).for_each(|_| rows.extend(row(&mut source)));
    let last = rows[(capacity - 1) * 3 * d..].to_vec();
    let (cache, qkv) = (gpu.upload([capacity, 3 * d], &rows)?, gpu.upload([1, 3 * d], &last)?);
    let (position, scores) = (gpu.upload_u32([1], &[capacity as u32 - 1])?, gpu.tensor([heads, capacity])?);
    let o = gpu.tensor([1, d])?;
    let mut recorder = Recorder::new(gpu);
    let op =
        AttentionDecode { position: &position, qkv: &qkv, cache: &cache, scores: &scores, keep: None, o: &o };
    ops::attention_decode(&mut recorder, op)?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let share = given(1.0 / capacity as f64);
    let mean = |i: usize| (0..capacity).map(|row| share * exact(rows[row * 3 * d + 2 * d + i])).sum();
    Ok((gpu.read(&o)?, (0..d).map(mean).collect()))
}

#[test]
fn a_long_cache_is_read_to_its_end() {
    let lanes = gpu().capabilities().row_lanes as usize;
    let width = 4usize;
    let iterations = |capacity: usize| {
        let (per_lane, columns) = (capacity.div_ceil(lanes), width.div_ceil(lanes));
        per_lane * (width + 3) + columns * (capacity + 3)
    };
    let capacity =
        (1..MOST_ITERATIONS).rev().find(|capacity| iterations(*capacity) <= MOST_ITERATIONS).unwrap();
    let (found, wanted) = decode(gpu(), capacity, 1, width).unwrap();
    agree("o", &found, &wanted, Rounding::sum(capacity).exponential()).unwrap();
    let error = decode(gpu(), capacity + lanes, 1, width).unwrap_err().to_string();
    assert!(error.contains("loop iterations"), "{error}");
}
