//! Products of heads that stay where they are, inside `[B·T, 3D]`, under the causal mask.

use super::bench::Bench;
use super::gemm::{cut, product_rounding};
use crate::random::{Random, wide};
use crate::rounding::{DEVIATIONS, Rounding};
use retrograd_gpu::GpuError;
use retrograd_gpu::ops::{Causal, Gemm, Matrix, gemm};
use retrograd_reference::ops::{matmul, matmul_nt, matmul_tn};

/// B, H, T, d.
type Sizes = (usize, usize, usize, usize);

const BRIEF: [Sizes; 1] = [(2, 2, 37, 8)];
const USUAL: [Sizes; 3] = [(1, 3, 9, 5), (3, 1, 64, 16), (1, 1, 130, 64)];
const FULL: [Sizes; 4] = [(1, 1, 1, 4), (1, 2, 97, 12), (1, 12, 64, 64), (1, 1, 1024, 64)];

/// A sum of up to T numbers, of which the first rows have one: the largest result is at least of their size.
fn map_rounding(t: usize) -> Rounding {
    Rounding::sum(t).of_at_least(1.0 / 3.0)
}

/// Scores, values and keys as attention uses them.
pub(super) fn heads_in_place(bench: &mut Bench) -> Result<(), GpuError> {
    bench.row("gemm of heads".to_owned());
    for sizes in bench.cases(&BRIEF, &USUAL, &FULL) {
        check(bench, sizes)?;
    }
    Ok(())
}

pub(super) fn check(bench: &mut Bench, (batches, heads, t, d): Sizes) -> Result<(), GpuError> {
    let (width, maps) = (heads * d, batches * heads);
    let stride = 3 * width;
    let mut random = Random::new((t * 100 + d) as u64);
    let (qkv, qkv_device) = random.tensor(bench.gpu, [batches * t, stride])?;
    let (_, scores_device) = random.tensor(bench.gpu, [maps, t, t])?;
    // Lower-triangular maps, for the products that read one.
    let mut lower = random.values(maps * t * t);
    lower.iter_mut().enumerate().filter(|(i, _)| i % t > i / t % t).for_each(|(_, v)| *v = 0.0);
    let lower_device = bench.gpu.upload([maps, t, t], &lower)?;
    let (_, o_device) = random.tensor(bench.gpu, [batches * t, width])?;
    let (grad_before, grad_device) = random.tensor(bench.gpu, [batches * t, stride])?;

    let part = |i: usize| Matrix::of(&qkv_device).columns(i * width, d).rows(0, t).strides(t * stride, d);
    let map = |tensor| Matrix::of(tensor).rows(0, t).strides(heads * t * t, t * t);
    let o = Matrix::of(&o_device).columns(0, d).rows(0, t).strides(t * width, d);
    let dk = Matrix::of(&grad_device).columns(width, d).rows(0, t).strides(t * stride, d);
    bench.run(|recorder| {
        let scores = Gemm::nt(part(0), part(1), map(&scores_device)).maps(batches, heads).alpha(0.25);
        gemm(recorder, scores.causal(Causal::LowerC))?;
        let values = Gemm::nn(map(&lower_device), part(2), o).maps(batches, heads);
        gemm(recorder, values.causal(Causal::LowerA))?;
        let keys = Gemm::tn(map(&lower_device), part(0), dk).maps(batches, heads);
        gemm(recorder, keys.causal(Causal::LowerTransposedA))
    })?;
    let (scores, o, grad) =
        (bench.gpu.read(&scores_device)?, bench.gpu.read(&o_device)?, bench.gpu.read(&grad_device)?);
    for (batch, head) in (0..batches).flat_map(|batch| (0..heads).map(move |head| (batch, head))) {
        let case = |what: &str| format!("{what} of B={batches} H={heads} T={t} d={d}, head {batch}.{head}");
        let part = |i: usize| cut(&qkv, batch * t * stride + i * width + head * d, stride, t, d);
        let (q, k, v) = (part(0), part(1), part(2));
        let at = (batch * heads + head) * t * t;
        let map = wide(&lower[at..][..t * t]);

        let wanted: Vec<f64> = matmul_nt(&q, &k, t, t, d).iter().map(|s| 0.25 * s).collect();
        let rounding = Rounding::sum(d).of_at_least(0.25 * product_rounding(d).at_least);
        let tolerance = DEVIATIONS * rounding.expected * (1.0 + rounding.at_least);
        // Above the diagonal: computed or 0, never what was there before.
        let found: Vec<f32> = (0..t * t)
            .map(|i| {
                let found = scores[at + i];
                let computed = (f64::from(found) - wanted[i]).abs() <= tolerance;
                if i % t > i / t && (found == 0.0 || computed) { wanted[i] as f32 } else { found }
            })
            .collect();
        bench.compare_values(case("scores"), &found, &wanted, rounding);

        let wanted = matmul(&map, &v, t, d, t);
        let found: Vec<f32> =
            (0..t).flat_map(|r| o[(batch * t + r) * width + head * d..][..d].to_vec()).collect();
        bench.compare_values(case("values"), &found, &wanted, map_rounding(t));

        let wanted = matmul_tn(&map, &q, t, d, t);
        let found: Vec<f32> =
            (0..t).flat_map(|r| grad[(batch * t + r) * stride + width + head * d..][..d].to_vec()).collect();
        bench.compare_values(case("keys"), &found, &wanted, map_rounding(t));
    }
    let beside = |values: &[f32]| -> Vec<f32> {
        let outside = |i: &usize| !(width..2 * width).contains(&(i % stride));
        (0..values.len()).filter(outside).map(|i| values[i]).collect()
    };
    let case = format!("what lies beside the keys of B={batches} H={heads} T={t} d={d}");
    bench.exactly(case, &beside(&grad), &beside(&grad_before));
    Ok(())
}
