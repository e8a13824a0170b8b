//! The products of a model's linear layers, its head and its attention.

use super::check::{HostProduct, rounding};
use super::values::values;
use super::{At, Case, Prepared};
use crate::BenchError;
use crate::flops::product;
use retrograd_gpu::ops::{Causal, Form, Gemm, Matrix, gemm};
use retrograd_gpu::{Dtype, Gpu, Recorder, Tensor};

/// Rows of the vocabulary that one product multiplies: a binding's worth of GPT-2's embedding is more.
const VOCABULARY_ROWS: usize = 16_384;

pub(super) fn cases(at: &At) -> Vec<Case> {
    let At { length: t, d, i, v, .. } = *at;
    let rows = v.min(VOCABULARY_ROWS);
    let products = [
        ("attn.c_attn", Form::NN, t, 3 * d, d),
        ("attn.c_proj", Form::NN, t, d, d),
        ("mlp.c_fc", Form::NN, t, i, d),
        ("mlp.c_proj", Form::NN, t, d, i),
        ("attn.c_attn, backward", Form::NT, t, d, 3 * d),
        ("attn.c_proj, backward", Form::NT, t, d, d),
        ("mlp.c_fc, backward", Form::NT, t, d, i),
        ("mlp.c_proj, backward", Form::NT, t, i, d),
        ("logits of one position", Form::NT, 1, rows, d),
        ("logits of every position", Form::NT, t, rows, d),
        ("mlp.c_fc, one token", Form::NN, 1, i, d),
        ("mlp.c_fc, weight gradient", Form::TN, d, i, t),
    ];
    let mut cases = Vec::new();
    for (site, form, m, n, k) in products {
        for f16 in [false, true] {
            // Gradients are f32.
            if f16 && form == Form::TN {
                continue;
            }
            let precision = if f16 { "f16" } else { "f32" };
            let bytes = 4 * m * k + if f16 { 2 } else { 4 } * n * k + 4 * m * n;
            let kernel = format!("gemm/{form:?}/{precision}");
            let case = at.case(kernel, site, format!("{m}×{n}×{k}"), bytes, move |gpu| {
                linear(gpu, form, (m, n, k), f16)
            });
            cases.push(Case { flops: Some(product(m, n, k)), precision, ..case });
        }
    }
    cases.extend(attention(at));
    cases
}

/// C and a pass that computes it, checked.
fn linear(
    gpu: &Gpu,
    form: Form,
    (m, n, k): (usize, usize, usize),
    f16: bool,
) -> Result<Prepared, BenchError> {
    let (a_dims, b_dims) = match form {
        Form::NN => ([m, k], [k, n]),
        Form::NT => ([m, k], [n, k]),
        Form::TN => ([k, m], [k, n]),
    };
    let a_host = values(m * k, 0);
    let mut b_host = values(n * k, 31);
    let a = gpu.upload(a_dims, &a_host)?;
    // B is a weight, which lies where products read it fastest; in a weight gradient it is a δ.
    let dtype = if f16 { Dtype::F16 } else { Dtype::F32 };
    let b: Tensor = match form {
        Form::TN => gpu.allocate(b_dims.into(), dtype)?,
        Form::NN | Form::NT => gpu.allocate_operand(b_dims, dtype)?,
    };
    if f16 {
        let bits: Vec<u16> = b_host.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
        b_host = bits.iter().map(|&v| half::f16::from_bits(v).to_f32()).collect();
        gpu.write_f16(&b, &bits)?;
    } else {
        gpu.write(&b, &b_host)?;
    }
    let c = gpu.tensor([m, n])?;
    let mut recorder = Recorder::new(gpu);
    gemm(
        &mut recorder,
        match form {
            Form::NN => Gemm::nn(&a, &b, &c),
            Form::NT => Gemm::nt(&a, &b, &c),
            Form::TN => Gemm::tn(&a, &b, &c),
        },
    )?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let host = HostProduct {
        form,
        a: (&a_host, a_dims[1]),
        b: (&b_host, b_dims[1]),
        m,
        n,
        k,
        lower: false,
        alpha: 1.0,
    };
    Ok(Prepared { error: host.error(&gpu.read(&c)?, n), bound: rounding(k), pass })
}

/// The products of all heads: q·kᵀ, A·v and Rᵀ·q, which know what is zero.
fn attention(at: &At) -> Vec<Case> {
    let At { length: t, d, h, .. } = *at;
    // Half of the T×T map of each head.
    let flops = t as u64 * (t as u64 + 1) * d as u64;
    let maps = 4 * h * t * (t + 1) / 2;
    let shape = |m: usize, n: usize, k: usize| format!("{h} × {m}×{n}×{k}");
    let of = |kernel: &str, site, shape, bytes, part: Product| {
        let case = at.case(kernel, site, shape, bytes, move |gpu| heads(gpu, part, t, d, h));
        Case { flops: Some(flops), ..case }
    };
    vec![
        of("gemm/NT/causal", "q·kᵀ of every head", shape(t, t, d / h), maps + 8 * t * d, Product::Scores),
        of("gemm/NN/causal", "A·v of every head", shape(t, d / h, t), maps + 8 * t * d, Product::Mix),
        of("gemm/TN/causal", "Rᵀ·q of every head", shape(t, d / h, t), maps + 8 * t * d, Product::Transposed),
    ]
}

#[derive(Clone, Copy)]
enum Product {
    /// q·kᵀ/√d
    Scores,
    /// A·v
    Mix,
    /// Rᵀ·q
    Transposed,
}

/// One product for every head, checked in the first and the last one.
fn heads(gpu: &Gpu, part: Product, t: usize, d: usize, h: usize) -> Result<Prepared, BenchError> {
    let width = d / h;
    let alpha = match part {
        Product::Scores => 1.0 / (width as f32).sqrt(),
        _ => 1.0,
    };
    let qkv_host = values(t * 3 * d, 0);
    let mut maps_host = values(h * t * t, 5);
    for (at, value) in maps_host.iter_mut().enumerate() {
        if at % t > at / t % t {
            *value = 0.0;
        }
    }
    let qkv = gpu.upload([t, 3 * d], &qkv_host)?; // (T, 3D)
    let maps = gpu.upload([h, t, t], &maps_host)?; // (H, T, T)
    let out = gpu.tensor([t, d])?; // (T, D)
    let heads_of = |tensor, first| -> Matrix<'_> {
        let matrix: Matrix<'_> = Matrix::of(tensor);
        matrix.columns(first, width).strides(0, width)
    };
    let maps_of = Matrix::of(&maps).rows(0, t).strides(0, t * t);
    let mut recorder = Recorder::new(gpu);
    let op = match part {
        Product::Scores => {
            Gemm::nt(heads_of(&qkv, 0), heads_of(&qkv, d), maps_of).causal(Causal::LowerC).alpha(alpha)
        }
        Product::Mix => Gemm::nn(maps_of, heads_of(&qkv, 2 * d), heads_of(&out, 0)).causal(Causal::LowerA),
        Product::Transposed => {
            Gemm::tn(maps_of, heads_of(&qkv, 0), heads_of(&out, 0)).causal(Causal::LowerTransposedA)
        }
    };
    gemm(&mut recorder, op.maps(1, h))?;
    let pass = recorder.finish()?;
    gpu.run(&pass)?;
    let found = gpu.read(if matches!(part, Product::Scores) { &maps } else { &out })?;
    let mut error = 0.0;
    for head in [0, h - 1] {
        let column = |first: usize| (&qkv_host[first + head * width..], 3 * d);
        let map = (&maps_host[head * t * t..][..t * t], t);
        let (form, a, b, n, k, c, stride) = match part {
            Product::Scores => (Form::NT, column(0), column(d), t, width, &found[head * t * t..], t),
            Product::Mix => (Form::NN, map, column(2 * d), width, t, &found[head * width..], d),
            Product::Transposed => (Form::TN, map, column(0), width, t, &found[head * width..], d),
        };
        let lower = matches!(part, Product::Scores);
        let product = HostProduct { form, a, b, m: t, n, k, lower, alpha: f64::from(alpha) };
        error = super::check::larger(error, product.error(c, stride));
    }
    Ok(Prepared { pass, error, bound: rounding(t.max(width)) })
}
