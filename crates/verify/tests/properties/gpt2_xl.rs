//! The largest shapes that a GPT-2 XL asks for (D = 1600, 4D = 6400, V = 50257, T = 1024, 25 heads), where verification has
//! smaller ones.

use crate::bounds::{Bound, exact, given};
use crate::device::{agree, gpu, same};
use crate::limits::{decode, run, source, zeros};
use crate::rounding::Rounding;
use retrograd_gpu::ops::{
    self, AdamW, Causal, ColumnSum, Embedding, Form, Gemm, HeadProducts, LayerNormGrad, MapNorms, Matrix,
    Pack, PatchAttention, PositionEmbeddingBackward, ReversedAttention, Unpack, VocabRange,
};
use retrograd_gpu::{Dtype, Tensor};

const T: usize = 1024;
const D: usize = 1600;
const HEADS: usize = 25;
/// Rows of the vocabulary whose embedding fits into a binding of 128 MiB.
const RANGE: usize = (128 << 20) / (4 * D);

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
