//! Attention: softmax, Reversed Attention, patches, silenced heads, the step over a cache, and the whole
//! chain of products around them, against f64.

mod harness;

use harness::{ROUNDING, Random, assert_close, assert_close_at, gpu, largest, run, wide};
use retrograd_gpu::ops::{
    AddScaled, AttentionDecode, Causal, Gemm, Matrix, ReversedAttention, ZeroColumns, add_scaled,
    attention_decode, causal_softmax, gemm, reversed_attention, zero_columns,
};
use retrograd_gpu::{Gpu, Tensor};
use retrograd_reference::ops as reference;

/// Sums of `terms` products; four standard deviations. The constant counts the roundings around them
/// and those of an exponential: WGSL allows 3 + 2|x| ulp of eˣ, and eˣ·|x| ≤ 1/e.
fn bound(terms: usize) -> f64 {
    (4.0 * ((terms + 16) as f64).sqrt() + 2.0 * (3.0 + 2.0 / std::f64::consts::E)) * ROUNDING
}

fn assert_zero_above_diagonal(what: &str, maps: &[f32], t: usize) {
    for (i, value) in maps.iter().enumerate() {
        let (row, column) = (i / t % t, i % t);
        assert!(column <= row || value.to_bits() == 0, "{what}: ({row}, {column}) is {value}");
    }
}

#[test]
fn softmax_of_the_lower_triangle() {
    let gpu = gpu();
    // Scores of ordinary size, and so far apart that each row has one winner.
    for magnitude in [3.0f32, 1e4] {
        for (maps, t) in [(1, 1), (3, 2), (2, 7), (5, 8), (1, 9), (4, 37), (2, 64), (3, 97), (1, 257)] {
            let mut random = Random::new((maps * 1000 + t) as u64);
            let scores: Vec<f32> = random.values(maps * t * t).iter().map(|v| v * magnitude).collect();
            let device = gpu.upload([maps, t, t], &scores).unwrap();
            run(gpu, |recorder| causal_softmax(recorder, &device).unwrap());
            let what = format!("softmax of {maps} maps of {t}×{t}, scores to {magnitude}");
            let found = gpu.read(&device).unwrap();
            assert_zero_above_diagonal(&what, &found, t);
            assert_close(&what, &found, &reference::causal_softmax(&wide(&scores), maps, t), bound(t));
        }
    }
}

#[test]
fn softmax_reads_nothing_above_the_diagonal() {
    let gpu = gpu();
    let t = 11;
    let mut random = Random::new(1);
    let clean = random.values(t * t);
    let mut poisoned = clean.clone();
    for i in 0..t {
        for j in i + 1..t {
            poisoned[i * t + j] = [f32::NAN, f32::INFINITY, 1e30][(i + j) % 3];
        }
    }
    let (a, b) = (gpu.upload([1, t, t], &clean).unwrap(), gpu.upload([1, t, t], &poisoned).unwrap());
    run(gpu, |recorder| {
        causal_softmax(recorder, &a).unwrap();
        causal_softmax(recorder, &b).unwrap();
    });
    assert_eq!(gpu.read(&a).unwrap(), gpu.read(&b).unwrap());
}

#[test]
fn rows_before_the_first_have_no_reversed_attention() {
    let gpu = gpu();
    for (maps, t, first_row) in [(1, 1, 0), (2, 9, 0), (2, 9, 8), (3, 65, 33), (1, 4, 4)] {
        let mut random = Random::new(t as u64);
        let scores = random.values(maps * t * t);
        let pattern = reference::causal_softmax(&wide(&scores), maps, t);
        let pattern: Vec<f32> = pattern.iter().map(|&v| v as f32).collect();
        let mut e = random.values(maps * t * t);
        // What stands in rows without a gradient must not matter.
        e.iter_mut().enumerate().filter(|(i, _)| i / t % t < first_row).for_each(|(_, v)| *v = f32::NAN);
        let (pattern_device, e_device) =
            (gpu.upload([maps, t, t], &pattern).unwrap(), gpu.upload([maps, t, t], &e).unwrap());
        let reversed = gpu.upload([maps, t, t], &random.values(maps * t * t)).unwrap();
        let scale = 0.125f32;
        run(gpu, |recorder| {
            let op = ReversedAttention {
                pattern: &pattern_device,
                e: &e_device,
                first_row,
                scale,
                reversed: &reversed,
            };
            reversed_attention(recorder, op).unwrap();
        });
        let mut wanted = vec![0.0; maps * t * t];
        for row in 0..maps * t {
            if row % t < first_row {
                continue;
            }
            let seen = row % t + 1;
            let (a, e) = (&wide(&pattern[row * t..][..seen]), &wide(&e[row * t..][..seen]));
            let dot: f64 = a.iter().zip(e).map(|(a, e)| a * e).sum();
            for j in 0..seen {
                wanted[row * t + j] = a[j] * (e[j] - dot) * f64::from(scale);
            }
        }
        let what = format!("R of {maps} maps of {t}×{t} from row {first_row}");
        let found = gpu.read(&reversed).unwrap();
        assert_zero_above_diagonal(&what, &found, t);
        for (i, value) in found.iter().enumerate() {
            assert!(i / t % t >= first_row || value.to_bits() == 0, "{what}: element {i} is {value}");
        }
        assert_close_at(&what, &found, &wanted, bound(t), largest(&wanted).max(f64::from(scale)));
    }
}

/// Device tensors of one attention layer.
struct Layer {
    pattern: Tensor,
    o: Tensor,
    reversed: Tensor,
    d_qkv: Tensor,
}

/// The layer as a model records it, without copying a head.
#[allow(clippy::too_many_arguments)] // The extents of an attention layer.
fn layer(
    gpu: &Gpu,
    qkv: &[f32],
    d_o: &[f32],
    patch: Option<(&Tensor, f32)>,
    b: usize,
    t: usize,
    d: usize,
    h: usize,
) -> Layer {
    let dh = d / h;
    let maps = [b * h, t, t];
    let scale = 1.0 / (dh as f32).sqrt();
    let qkv_device = gpu.upload([b * t, 3 * d], qkv).unwrap();
    let d_o_device = gpu.upload([b * t, d], d_o).unwrap();
    let layer = Layer {
        pattern: gpu.tensor(maps).unwrap(),
        o: gpu.tensor([b * t, d]).unwrap(),
        reversed: gpu.tensor(maps).unwrap(),
        d_qkv: gpu.tensor([b * t, 3 * d]).unwrap(),
    };
    let (patched, e) = (gpu.tensor(maps).unwrap(), gpu.tensor(maps).unwrap());
    fn map(tensor: &Tensor, h: usize, t: usize) -> Matrix<'_> {
        Matrix::of(tensor).rows(0, t).strides(h * t * t, t * t)
    }
    let part = |tensor, i: usize, width: usize| {
        Matrix::of(tensor).rows(0, t).columns(i * d, dh).strides(t * width, dh)
    };
    run(gpu, |recorder| {
        let (q, k, v) =
            (part(&qkv_device, 0, 3 * d), part(&qkv_device, 1, 3 * d), part(&qkv_device, 2, 3 * d));
        let s = map(&layer.pattern, h, t);
        gemm(recorder, Gemm::nt(q, k, s).maps(b, h).alpha(scale).causal(Causal::LowerC)).unwrap();
        causal_softmax(recorder, &layer.pattern).unwrap();
        let pattern = match patch {
            None => &layer.pattern,
            Some((m, scale)) => {
                let op = AddScaled { a: &layer.pattern, b: m, scale, out: &patched };
                add_scaled(recorder, op).unwrap();
                &patched
            }
        };
        let o = part(&layer.o, 0, d);
        gemm(recorder, Gemm::nn(map(pattern, h, t), v, o).maps(b, h).causal(Causal::LowerA)).unwrap();

        let d_o = part(&d_o_device, 0, d);
        gemm(recorder, Gemm::nt(d_o, v, map(&e, h, t)).maps(b, h).causal(Causal::LowerC)).unwrap();
        let op = ReversedAttention {
            pattern: &layer.pattern,
            e: &e,
            first_row: 0,
            scale,
            reversed: &layer.reversed,
        };
        reversed_attention(recorder, op).unwrap();
        let r = map(&layer.reversed, h, t);
        let grad = |i| part(&layer.d_qkv, i, 3 * d);
        gemm(recorder, Gemm::nn(r, k, grad(0)).maps(b, h).causal(Causal::LowerA)).unwrap();
        gemm(recorder, Gemm::tn(r, q, grad(1)).maps(b, h).causal(Causal::LowerTransposedA)).unwrap();
        let values = Gemm::tn(map(pattern, h, t), d_o, grad(2)).maps(b, h);
        gemm(recorder, values.causal(Causal::LowerTransposedA)).unwrap();
    });
    layer
}

#[test]
fn whole_layer_forward_and_backward() {
    let gpu = gpu();
    for (b, t, d, h) in [
        (1, 1, 4, 1),
        (1, 9, 15, 3),
        (2, 37, 20, 5),
        (3, 64, 64, 2),
        (1, 97, 36, 3),
        (2, 33, 7, 7),
        (1, 130, 64, 1),
    ] {
        for patched in [false, true] {
            let what = |name: &str| format!("{name}, B={b} T={t} D={d} H={h} patched={patched}");
            let mut random = Random::new((t * 100 + d) as u64);
            let (qkv, d_o) = (random.values(b * t * 3 * d), random.values(b * t * d));
            let alpha = -1.5f32;
            // A patch is causal too.
            let mut m = random.values(b * h * t * t);
            m.iter_mut().enumerate().filter(|(i, _)| i % t > i / t % t).for_each(|(_, v)| *v = 0.0);
            let m_device = gpu.upload([b * h, t, t], &m).unwrap();
            let found = layer(gpu, &qkv, &d_o, patched.then_some((&m_device, alpha)), b, t, d, h);

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
            // The scores' error (a sum of d/h products, scaled) is that of an exponent: it multiplies.
            let through = bound(d / h) + bound(t);
            let read = |tensor| gpu.read(tensor).unwrap();
            assert_close(&what("A"), &read(&found.pattern), &pattern, through);
            assert_close(&what("o"), &read(&found.o), &o, through);
            // R is a difference of numbers up to |E| ~ √(d/h)/3 times a pattern up to 1.
            let scale = largest(&reversed).max(1.0 / 3.0);
            let r = read(&found.reversed);
            assert_zero_above_diagonal(&what("R"), &r, t);
            assert_close_at(&what("R"), &r, &reversed, 2.0 * through, scale);
            let scale = largest(&d_qkv).max(1.0 / 3.0);
            assert_close_at(&what("∂qkv"), &read(&found.d_qkv), &d_qkv, 2.0 * through, scale);
        }
    }
}

#[test]
fn heads_are_silenced() {
    let gpu = gpu();
    for (rows, d, h) in [(1, 4, 4), (3, 15, 3), (70, 96, 2)] {
        let mut random = Random::new(rows as u64);
        let (x, x_device) = random.tensor(gpu, [rows, d]);
        let keep: Vec<u32> = (0..h).map(|i| (i % 2) as u32).collect();
        let keep_device = gpu.upload_u32([h], &keep).unwrap();
        let out = gpu.tensor([rows, d]).unwrap();
        run(gpu, |recorder| {
            zero_columns(recorder, ZeroColumns { x: &x_device, keep: &keep_device, out: &out }).unwrap();
        });
        let wanted: Vec<f32> =
            x.iter().enumerate().map(|(i, &v)| if keep[i % d / (d / h)] == 1 { v } else { 0.0 }).collect();
        assert_eq!(gpu.read(&out).unwrap(), wanted);
    }
}

#[test]
fn steps_over_a_cache_agree_with_the_whole_sequence() {
    let gpu = gpu();
    for (t, d, h, capacity) in [(1, 4, 1, 1), (9, 15, 3, 12), (37, 96, 2, 64)] {
        let mut random = Random::new(t as u64);
        let qkv = random.values(t * 3 * d);
        let whole = reference::attention(&wide(&qkv), t, d, h, None).out;
        let (position, row) = (gpu.upload_u32([1], &[0]).unwrap(), gpu.tensor([1, 3 * d]).unwrap());
        let cache = gpu.upload([capacity, 3 * d], &vec![f32::NAN; capacity * 3 * d]).unwrap();
        let scores = gpu.tensor([h, capacity]).unwrap();
        let keep: Vec<u32> = (0..h).map(|i| u32::from(i != 1)).collect();
        let keep_device = gpu.upload_u32([h], &keep).unwrap();
        let (o, masked) = (gpu.tensor([1, d]).unwrap(), gpu.tensor([1, d]).unwrap());
        let pass = harness::pass(gpu, |recorder| {
            let op = AttentionDecode {
                position: &position,
                qkv: &row,
                cache: &cache,
                scores: &scores,
                keep: None,
                o: &o,
            };
            attention_decode(recorder, op).unwrap();
            let op = AttentionDecode { keep: Some(&keep_device), o: &masked, ..op };
            attention_decode(recorder, op).unwrap();
        });
        for step in 0..t {
            gpu.write_u32(&position, &[step as u32]).unwrap();
            gpu.write(&row, &qkv[step * 3 * d..][..3 * d]).unwrap();
            gpu.run(&pass).unwrap();
            let wanted = &whole[step * d..][..d];
            let what = format!("step {step} of {t}, D={d} H={h}");
            let through = bound(d / h) + bound(t);
            let scale = largest(&whole);
            assert_close_at(&what, &gpu.read(&o).unwrap(), wanted, through, scale);
            let wanted: Vec<f64> = wanted
                .iter()
                .enumerate()
                .map(|(i, &v)| if keep[i / (d / h)] == 1 { v } else { 0.0 })
                .collect();
            assert_close_at(&what, &gpu.read(&masked).unwrap(), &wanted, through, scale);
        }
    }
}
