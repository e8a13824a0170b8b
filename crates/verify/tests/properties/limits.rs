//! The ends of what operations take: loops of almost as many iterations as lavapipe allows, and the largest shapes that
//! a GPT-2 XL asks for (D = 1600, 4D = 6400, V = 50257, T = 1024, 25 heads) where verification has smaller ones.
//!
//! lavapipe silently ends the loops of an invocation after 65,535 iterations: what comes after is missing from a sum.
//! Operations refuse, or split, from 60,000 on.

use crate::bounds::{Bound, exact, given};
use crate::device::{agree, gpu, same};
use crate::rounding::Rounding;
use crate::values::{Kind, Source, Values};
use retrograd_gpu::ops::{
    self, AdamW, AttentionDecode, Causal, ColumnSum, CrossEntropy, Embedding, EmbeddingBackward, Form, Gemm,
    GemmVariant, HeadProducts, LayerNorm, LayerNormBackward, LayerNormGrad, MapNorms, Matrix, Pack,
    PatchAttention, PositionEmbeddingBackward, ReversedAttention, Unpack, VocabRange, VocabularySummary,
};
use retrograd_gpu::{Dtype, Gpu, GpuError, Recorder, Tensor};

/// As `crates/gpu/src/ops/expect.rs` has it.
const MOST_ITERATIONS: usize = 60_000;

const T: usize = 1024;
const D: usize = 1600;
const HEADS: usize = 25;
/// Rows of the vocabulary whose embedding fits into a binding of 128 MiB.
const RANGE: usize = (128 << 20) / (4 * D);

fn run(record: impl FnOnce(&mut Recorder) -> Result<(), GpuError>) {
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

fn source() -> Source {
    Values { kind: Kind::Plain, seed: 1 }.start()
}

fn ones<const N: usize>(dims: [usize; N]) -> Tensor {
    gpu().upload(dims, &vec![1.0; dims.iter().product()]).unwrap()
}

fn zeros<const N: usize>(dims: [usize; N]) -> Tensor {
    gpu().tensor(dims).unwrap()
}

/// Elements of a row that are so many iterations of one of the lanes that share it: no quads, the last lane one short.
fn row_of(iterations: usize) -> usize {
    iterations * gpu().capabilities().row_lanes as usize - 1
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
    let (v, out) = (row_of(MOST_ITERATIONS / 2), zeros([1]));
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
fn decode(
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

#[test]
fn a_step_of_gpt2_xl() {
    let (found, wanted) = decode(gpu(), T, HEADS, D / HEADS).unwrap();
    agree("o", &found, &wanted, Rounding::sum(T).exponential()).unwrap();
}

/// Scores, softmax, Reversed Attention, patches and norms of the 25 maps of 1024×1024.
#[test]
fn maps_of_gpt2_xl() {
    let (width, mut source) = (D / HEADS, source());
    let qk: Vec<f32> = (0..T * 2 * D).map(|_| source.plain()).collect();
    let qk_device = gpu().upload([T, 2 * D], &qk).unwrap();
    let (pattern, reversed) = (zeros([HEADS, T, T]), zeros([HEADS, T, T]));
    let part = |i: usize| Matrix::of(&qk_device).columns(i * D, width).strides(0, width);
    let scale = 0.125f32;
    let (row_sums, norms) = (zeros([HEADS, T]), zeros([HEADS]));
    let alpha = gpu().upload([1], &[-1.5]).unwrap();
    run(|recorder| {
        let maps = Matrix::of(&pattern).rows(0, T).strides(HEADS * T * T, T * T);
        let scores = Gemm::nt(part(0), part(1), maps).maps(1, HEADS).alpha(scale);
        ops::gemm(recorder, scores.causal(Causal::LowerC))?;
        ops::causal_softmax(recorder, &pattern)
    });
    run(|recorder| {
        // E = A, which is causal and of the right size.
        let op =
            ReversedAttention { pattern: &pattern, e: &pattern, first_row: 0, scale, reversed: &reversed };
        ops::reversed_attention(recorder, op)?;
        ops::map_norms(recorder, MapNorms { maps: &pattern, row_sums: &row_sums, out: &norms, out_index: 0 })
    });
    let (a, r) = (gpu().read(&pattern).unwrap(), gpu().read(&reversed).unwrap());
    let found = gpu().read(&norms).unwrap();
    // A row near the beginning, the last of a tile and the last of all, of the first, a middle and the last head.
    for (head, row) in [(0, 0), (0, 511), (12, 7), (24, 1022), (24, 1023)] {
        let at = (head * T + row) * T;
        let score = |j: usize| -> f64 {
            let of =
                |row: usize, part: usize, i: usize| f64::from(qk[row * 2 * D + part * D + head * width + i]);
            (0..width).map(|i| of(row, 0, i) * of(j, 1, i)).sum::<f64>() * f64::from(scale)
        };
        let scores: Vec<f64> = (0..=row).map(score).collect();
        let m = scores.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
        let total: f64 = scores.iter().map(|s| (s - m).exp()).sum();
        let p: Vec<f64> = scores.iter().map(|s| (s - m).exp() / total).collect();
        // The scores' error is that of an exponent: it multiplies.
        let through = Rounding::sum(T).exponential().plus(Rounding::sum(width).exponential().expected);
        let wanted: Vec<Bound> = p.iter().map(|p| given(*p)).collect();
        agree("A", &a[at..at + row + 1], &wanted, through.times(2.0)).unwrap();
        same("A above the diagonal", &a[at + row + 1..at + T], &vec![0.0; T - row - 1]).unwrap();
        let dot: Bound = a[at..at + row + 1].iter().map(|a| exact(*a) * exact(*a)).sum();
        let wanted: Vec<Bound> =
            a[at..at + row + 1].iter().map(|a| exact(*a) * (exact(*a) - dot) * exact(scale)).collect();
        agree("R", &r[at..at + row + 1], &wanted, Rounding::sum(T)).unwrap();
        same("R above the diagonal", &r[at + row + 1..at + T], &vec![0.0; T - row - 1]).unwrap();
    }
    let norm = |map: &[f32]| map.iter().map(|a| exact(*a) * exact(*a)).sum::<Bound>().sqrt();
    let wanted: Vec<Bound> = a.chunks_exact(T * T).map(norm).collect();
    agree("‖A‖", &found, &wanted, Rounding::sum(2 * T)).unwrap();
    // Patched over what R was: A − 1.5·A.
    run(|recorder| {
        let op = PatchAttention { pattern: &pattern, map: &pattern, alpha: &alpha, out: &reversed };
        ops::patch_attention(recorder, op)
    });
    let patched = gpu().read(&reversed).unwrap();
    let some = (0..a.len()).step_by(4093).chain([a.len() - 1]);
    let (found, wanted): (Vec<f32>, Vec<Bound>) =
        some.map(|i| (patched[i], exact(a[i]) + given(-1.5) * exact(a[i]))).unzip();
    agree("A + α·M", &found, &wanted, Rounding::steps(2.0)).unwrap();
}

/// The products with the widest weights, thin in the other extents.
#[test]
fn products_of_gpt2_xl() {
    let mut source = source();
    let inner = 4 * D;
    for (form, m, n, k) in [
        (Form::NN, 5, 3 * D, D),
        (Form::NN, 5, inner, D),
        (Form::NN, 5, D, inner),
        // One range of the vocabulary.
        (Form::NT, 1, RANGE, D),
        // A weight's gradient.
        (Form::TN, D, inner, 3),
        (Form::TN, inner, 8, T),
    ] {
        let (a_dims, b_dims) = match form {
            Form::NN => ([m, k], [k, n]),
            Form::NT => ([m, k], [n, k]),
            Form::TN => ([k, m], [k, n]),
        };
        let a: Vec<f32> = (0..m * k).map(|_| source.plain()).collect();
        let b: Vec<f32> = (0..n * k).map(|_| source.plain()).collect();
        let (a_device, b_device) = (gpu().upload(a_dims, &a).unwrap(), gpu().upload(b_dims, &b).unwrap());
        let c = zeros([m, n]);
        run(|recorder| {
            let product = match form {
                Form::NN => Gemm::nn(&a_device, &b_device, &c),
                Form::NT => Gemm::nt(&a_device, &b_device, &c),
                Form::TN => Gemm::tn(&a_device, &b_device, &c),
            };
            ops::gemm(recorder, product)
        });
        let c = gpu().read(&c).unwrap();
        // Every 97th element, a prime, and the last.
        let some: Vec<usize> =
            (0..m * n).step_by(if m * n > 100_000 { 997 } else { 97 }).chain([m * n - 1]).collect();
        let element = |at: usize| -> Bound {
            let (i, j) = (at / n, at % n);
            let left = |p: usize| exact(if form == Form::TN { a[p * m + i] } else { a[i * k + p] });
            let right = |p: usize| exact(if form == Form::NT { b[j * k + p] } else { b[p * n + j] });
            (0..k).map(|p| left(p) * right(p)).sum()
        };
        let found: Vec<f32> = some.iter().map(|&at| c[at]).collect();
        let wanted: Vec<Bound> = some.iter().map(|&at| element(at)).collect();
        agree(&format!("{form:?} {m}×{n}×{k}"), &found, &wanted, Rounding::sum(k)).unwrap();
    }
}

/// What goes over the rows of a whole context, and over a whole weight.
#[test]
fn rows_and_weights_of_gpt2_xl() {
    let mut source = source();
    let mut plain = |count: usize| -> Vec<f32> { (0..count).map(|_| source.plain()).collect() };
    let inner = 4 * D;
    let x = plain(T * inner);
    let x_device = gpu().upload([T, inner], &x).unwrap();
    let out = zeros([inner]);
    run(|recorder| ops::column_sum(recorder, ColumnSum { x: &x_device, first_column: 0, out: &out }));
    let sum = |j: usize| (0..T).map(|row| exact(x[row * inner + j])).sum::<Bound>();
    let some: Vec<usize> = (0..inner).step_by(37).chain([inner - 1]).collect();
    let found = gpu().read(&out).unwrap();
    let (found, wanted): (Vec<f32>, Vec<Bound>) = some.iter().map(|&j| (found[j], sum(j))).unzip();
    agree("Σ of a column", &found, &wanted, Rounding::sum(T)).unwrap();

    let rows: Vec<f32> = x[..T * D].to_vec();
    let rows_device = gpu().upload([T, D], &rows).unwrap();
    let stats = gpu().upload([T, 2], &[0.25, 1.5].repeat(T)).unwrap();
    let (gradients, products) = (zeros([2, D]), zeros([HEADS]));
    run(|recorder| {
        let (dy, x) = (&rows_device, &rows_device);
        let op = LayerNormGrad { dy, x, x_row: 0, stats: &stats, d_gamma_beta: &gradients };
        ops::layer_norm_grad(recorder, op)?;
        let op = HeadProducts { a: dy, b: x, batch: 1, heads: HEADS, out: &products, out_index: 0 };
        ops::head_products(recorder, op)
    });
    let normed = |x: f32| (exact(x) - given(0.25)) * given(1.5);
    let gamma =
        |j: usize| (0..T).map(|row| exact(rows[row * D + j]) * normed(rows[row * D + j])).sum::<Bound>();
    let found = gpu().read(&gradients).unwrap();
    let (found, wanted): (Vec<f32>, Vec<Bound>) =
        (0..D).step_by(37).chain([D - 1]).map(|j| (found[j], gamma(j))).unzip();
    agree("∂γ", &found, &wanted, Rounding::sum(T)).unwrap();
    let width = D / HEADS;
    let product = |head: usize| -> Bound {
        let of = |row: usize| rows[row * D + head * width..][..width].iter();
        (0..T).flat_map(of).map(|x| exact(*x) * exact(*x)).sum()
    };
    let wanted: Vec<Bound> = (0..HEADS).map(product).collect();
    agree("Σ of a head", &gpu().read(&products).unwrap(), &wanted, Rounding::sum(T * width)).unwrap();

    // All positions, a range of the vocabulary whose last token is asked for.
    let table = gpu().upload([64, D], &x[..64 * D]).unwrap();
    let table = [VocabRange { first: 0, rows: table }];
    let tokens: Vec<u32> = (0..T as u32).map(|row| 63 - row % 64).collect();
    let (tokens_device, start) =
        (gpu().upload_u32([T], &tokens).unwrap(), gpu().upload_u32([1], &[0]).unwrap());
    let (embedded, d_wpe) = (zeros([T, D]), zeros([T, D]));
    run(|recorder| {
        let op = Embedding {
            tokens: &tokens_device,
            start: &start,
            context: T,
            wte: &table,
            wpe: &rows_device,
            x: &embedded,
        };
        ops::embedding(recorder, op)?;
        let op = PositionEmbeddingBackward { delta: &rows_device, batch: 1, context: T, d_wpe: &d_wpe };
        ops::position_embedding_backward(recorder, op)
    });
    let sum = |i: usize| exact(x[tokens[i / D] as usize * D + i % D]) + exact(rows[i]);
    let wanted: Vec<Bound> = (0..T * D).map(sum).collect();
    agree("x", &gpu().read(&embedded).unwrap(), &wanted, Rounding::steps(1.0)).unwrap();
    same("∂wpe of one sequence", &gpu().read(&d_wpe).unwrap(), &rows).unwrap();

    // A weight of the MLP, as an image too where products read those.
    let weight = plain(D * inner);
    let source = gpu().upload([D, inner], &weight).unwrap();
    let image = gpu().allocate_operand([D, inner], Dtype::F32).unwrap();
    if image.is_image() {
        let out = zeros([D, inner]);
        run(|recorder| {
            ops::pack(recorder, Pack { source: Matrix::of(&source), image: &image, first_row: 0 })?;
            ops::unpack(recorder, Unpack { image: &image, first_row: 0, out: &out })
        });
        same("a weight through an image", &gpu().read(&out).unwrap(), &weight).unwrap();
    }
    let (first, second) = (zeros([D, inner]), zeros([D, inner]));
    let (norm, gradient) = (gpu().upload([2], &[1.0, 1.0]).unwrap(), &x_device.reshape([T * inner]));
    // The gradient has T rows: only as many of the weight are updated.
    let part =
        |tensor: &Tensor| gpu().upload([T * inner], &gpu().read(tensor).unwrap()[..T * inner]).unwrap();
    let (parameter, first, second) = (part(&source), part(&first), part(&second));
    let hyperparameters =
        gpu().upload([ops::HYPERPARAMETERS], &[0.5, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]).unwrap();
    run(|recorder| {
        let op = AdamW {
            parameter: &parameter,
            gradient,
            first_moment: &first,
            second_moment: &second,
            norm: &norm,
            hyperparameters: &hyperparameters,
            decay: false,
        };
        ops::adamw(recorder, op)
    });
    // β₁ = β₂ = 0 and ε = 1: w − ½·g/(|g| + 1).
    let updated = |i: usize| {
        let g = f64::from(x[i]);
        Bound { size: 2.0, ..given(f64::from(weight[i]) - 0.5 * g / (g.abs() + 1.0)) }
    };
    let found = gpu().read(&parameter).unwrap();
    let some = (0..T * inner).step_by(4093).chain([T * inner - 1]);
    let (found, wanted): (Vec<f32>, Vec<Bound>) = some.map(|i| (found[i], updated(i))).unzip();
    agree("w", &found, &wanted, Rounding::steps(8.0)).unwrap();
}
