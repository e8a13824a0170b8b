//! Reversed Attention by itself, and the whole chain of products around it as a model records it.

use super::bench::Bench;
use crate::random::{Random, wide};
use crate::rounding::Rounding;
use retrograd_gpu::ops::{
    self, Causal, Gemm, Matrix, PatchAttention, ReversedAttention, causal_softmax, gemm, reversed_attention,
};
use retrograd_gpu::{Gpu, GpuError, Tensor};
use retrograd_reference::ops as reference;

/// (maps, T, first row with a gradient)
const MAPS: [(usize, usize, usize); 8] =
    [(1, 1, 0), (2, 9, 0), (2, 9, 8), (3, 65, 33), (1, 4, 4), (2, 64, 0), (1, 257, 0), (1, 1024, 1000)];

pub(super) fn reversed(bench: &mut Bench) -> Result<(), GpuError> {
    for (maps, t, first_row) in MAPS {
        let mut random = Random::new(t as u64);
        let scores = random.values(maps * t * t);
        let pattern = reference::causal_softmax(&wide(&scores), maps, t);
        let pattern: Vec<f32> = pattern.iter().map(|&v| v as f32).collect();
        let mut e = random.values(maps * t * t);
        // What stands in rows without a gradient, or above the diagonal, must not matter.
        let unread = |i: &usize| i / t % t < first_row || i % t > i / t % t;
        (0..e.len()).filter(unread).for_each(|i| e[i] = f32::NAN);
        let pattern_device = bench.gpu.upload([maps, t, t], &pattern)?;
        let e_device = bench.gpu.upload([maps, t, t], &e)?;
        let reversed = bench.gpu.upload([maps, t, t], &random.values(maps * t * t))?;
        let scale = 0.125f32;
        bench.run(|recorder| {
            let op = ReversedAttention {
                pattern: &pattern_device,
                e: &e_device,
                first_row,
                scale,
                reversed: &reversed,
            };
            reversed_attention(recorder, op)
        })?;
        let mut wanted = vec![0.0; maps * t * t];
        for row in (0..maps * t).filter(|row| row % t >= first_row) {
            let seen = row % t + 1;
            let (a, e) = (&wide(&pattern[row * t..][..seen]), &wide(&e[row * t..][..seen]));
            let dot: f64 = a.iter().zip(e).map(|(a, e)| a * e).sum();
            (0..seen).for_each(|j| wanted[row * t + j] = a[j] * (e[j] - dot) * f64::from(scale));
        }
        let case = format!("{maps} maps of {t}×{t} from row {first_row}");
        let found = bench.gpu.read(&reversed)?;
        bench.zero_above_diagonal(&case, &found, t);
        let before: Vec<f32> = (0..found.len()).filter(|i| i / t % t < first_row).map(|i| found[i]).collect();
        bench.exactly(format!("{case}, the rows before"), &before, &vec![0.0; before.len()]);
        // A row of one element, whose R is 0, still rounds numbers up to `scale`.
        let rounding = Rounding::sum(t).exponential().of_at_least(f64::from(scale) / t as f64);
        bench.compare_values(case, &found, &wanted, rounding);
    }
    Ok(())
}

/// B, T, D, H.
type Sizes = (usize, usize, usize, usize);

const BRIEF: [Sizes; 1] = [(2, 37, 20, 5)];
const USUAL: [Sizes; 3] = [(1, 1, 4, 1), (1, 9, 15, 3), (1, 130, 64, 1)];
const FULL: [Sizes; 4] = [(3, 64, 64, 2), (1, 97, 36, 3), (2, 33, 7, 7), (1, 64, 768, 12)];

/// Device tensors of one attention layer.
struct Layer {
    pattern: Tensor,
    o: Tensor,
    reversed: Tensor,
    d_qkv: Tensor,
}

/// A causal map that is added to the pattern, and its factor.
type Patch<'a> = Option<(&'a Tensor, &'a Tensor)>;

impl Layer {
    /// The layer as a model records it, without copying a head.
    fn run(
        bench: &Bench,
        qkv: &[f32],
        d_o: &[f32],
        patch: Patch,
        (b, t, d, h): Sizes,
    ) -> Result<Layer, GpuError> {
        let gpu: &Gpu = bench.gpu;
        let (dh, maps) = (d / h, [b * h, t, t]);
        let scale = 1.0 / (dh as f32).sqrt();
        let qkv_device = gpu.upload([b * t, 3 * d], qkv)?;
        let d_o_device = gpu.upload([b * t, d], d_o)?;
        let (o, d_qkv) = (gpu.tensor([b * t, d])?, gpu.tensor([b * t, 3 * d])?);
        let layer = Layer { pattern: gpu.tensor(maps)?, o, reversed: gpu.tensor(maps)?, d_qkv };
        let (patched, e) = (gpu.tensor(maps)?, gpu.tensor(maps)?);
        fn map(tensor: &Tensor, h: usize, t: usize) -> Matrix<'_> {
            Matrix::of(tensor).rows(0, t).strides(h * t * t, t * t)
        }
        fn part(tensor: &Tensor, i: usize, width: usize, (_, t, d, h): Sizes) -> Matrix<'_> {
            Matrix::of(tensor).rows(0, t).columns(i * d, d / h).strides(t * width, d / h)
        }
        let sizes = (b, t, d, h);
        bench.run(|recorder| {
            let [q, k, v] = [0, 1, 2].map(|i| part(&qkv_device, i, 3 * d, sizes));
            let scores = Gemm::nt(q, k, map(&layer.pattern, h, t)).maps(b, h).alpha(scale);
            gemm(recorder, scores.causal(Causal::LowerC))?;
            causal_softmax(recorder, &layer.pattern)?;
            let pattern = match patch {
                None => &layer.pattern,
                Some((m, alpha)) => {
                    let op = PatchAttention { pattern: &layer.pattern, map: m, alpha, out: &patched };
                    ops::patch_attention(recorder, op)?;
                    &patched
                }
            };
            let o = part(&layer.o, 0, d, sizes);
            gemm(recorder, Gemm::nn(map(pattern, h, t), v, o).maps(b, h).causal(Causal::LowerA))?;

            let d_o = part(&d_o_device, 0, d, sizes);
            gemm(recorder, Gemm::nt(d_o, v, map(&e, h, t)).maps(b, h).causal(Causal::LowerC))?;
            let op = ReversedAttention {
                pattern: &layer.pattern,
                e: &e,
                first_row: 0,
                scale,
                reversed: &layer.reversed,
            };
            reversed_attention(recorder, op)?;
            let r = map(&layer.reversed, h, t);
            let [d_q, d_k, d_v] = [0, 1, 2].map(|i| part(&layer.d_qkv, i, 3 * d, sizes));
            gemm(recorder, Gemm::nn(r, k, d_q).maps(b, h).causal(Causal::LowerA))?;
            gemm(recorder, Gemm::tn(r, q, d_k).maps(b, h).causal(Causal::LowerTransposedA))?;
            let values = Gemm::tn(map(pattern, h, t), d_o, d_v).maps(b, h);
            gemm(recorder, values.causal(Causal::LowerTransposedA))
        })?;
        Ok(layer)
    }
}

pub(super) fn whole_layer(bench: &mut Bench) -> Result<(), GpuError> {
    for sizes in bench.cases(&BRIEF, &USUAL, &FULL) {
        for patched in [false, true] {
            check(bench, sizes, patched)?;
        }
    }
    Ok(())
}

fn check(bench: &mut Bench, sizes: Sizes, patched: bool) -> Result<(), GpuError> {
    let (b, t, d, h) = sizes;
    let mut random = Random::new((t * 100 + d) as u64);
    let (qkv, d_o) = (random.values(b * t * 3 * d), random.values(b * t * d));
    let alpha = -1.5f32;
    // A patch is causal too.
    let mut m = random.values(b * h * t * t);
    m.iter_mut().enumerate().filter(|(i, _)| i % t > i / t % t).for_each(|(_, v)| *v = 0.0);
    let (m_device, alpha_device) = (bench.gpu.upload([b * h, t, t], &m)?, bench.gpu.upload([1], &[alpha])?);
    let found = Layer::run(bench, &qkv, &d_o, patched.then_some((&m_device, &alpha_device)), sizes)?;

    let (mut pattern, mut o, mut reversed, mut d_qkv) = (vec![], vec![], vec![], vec![]);
    let m = wide(&m);
    for i in 0..b {
        let qkv = wide(&qkv[i * t * 3 * d..][..t * 3 * d]);
        let patch = patched.then_some((&m[i * h * t * t..][..h * t * t], f64::from(alpha)));
        let forward = reference::attention(&qkv, t, d, h, patch);
        let d_o = wide(&d_o[i * t * d..][..t * d]);
        let backward = reference::attention_backward(&qkv, &forward.pattern, patch, &d_o, t, d, h);
        pattern.extend(forward.pattern);
        o.extend(forward.out);
        reversed.extend(backward.reversed);
        d_qkv.extend(backward.d_qkv);
    }
    let with = if patched { ", patched" } else { "" };
    let case = |what: &str| format!("{what} of B={b} T={t} D={d} H={h}{with}");
    // The scores' error (a sum of d/h products, scaled) is that of an exponent: it multiplies.
    let scores = Rounding::sum(d / h).exponential();
    let through = Rounding::sum(t).exponential().plus(scores.expected);
    bench.compare(case("A"), &found.pattern, &pattern, through)?;
    bench.compare(case("o"), &found.o, &o, through)?;
    // R is a difference of numbers up to |E| ~ √(d/h)/3 times a pattern up to 1.
    let twice = through.times(2.0).of_at_least(1.0 / 3.0);
    let r = bench.gpu.read(&found.reversed)?;
    bench.zero_above_diagonal(case("R"), &r, t);
    bench.compare_values(case("R"), &r, &reversed, twice);
    bench.compare(case("∂qkv"), &found.d_qkv, &d_qkv, twice)
}
