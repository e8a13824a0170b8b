//! Matrix products against f64: every form, epilogue, precision and variant, shapes off every tile.

mod harness;

use harness::{ROUNDING, Random, assert_close_at, largest, run, wide, with_variant};
use retrograd_gpu::Gpu;
use retrograd_gpu::ops::{Causal, Form, Gemm, GemmVariant, Matrix, gemm};
use retrograd_reference::ops::{gelu_new, gelu_new_derivative, matmul, matmul_nt, matmul_tn};

const FORMS: [Form; 3] = [Form::NN, Form::NT, Form::TN];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Epilogue {
    Plain,
    Alpha,
    Bias,
    Gelu,
    GeluBackward,
    Residual,
    Accumulate,
    /// Everything that can be asked for together: the order of the parts shows.
    All,
}

const EPILOGUES: [Epilogue; 8] = [
    Epilogue::Plain,
    Epilogue::Alpha,
    Epilogue::Bias,
    Epilogue::Gelu,
    Epilogue::GeluBackward,
    Epilogue::Residual,
    Epilogue::Accumulate,
    Epilogue::All,
];

/// A sum of K products of numbers up to 1 in f32: the roundings are K independent ones of partial
/// sums that grow as √K, so their error relative to the largest result grows as √K too. Four standard
/// deviations, and the epilogue's roundings (fewer than 16, counted as terms).
fn bound(k: usize) -> f64 {
    4.0 * ((k + 16) as f64).sqrt() * ROUNDING
}

/// Size of a typical result: products of two uniform numbers have variance 1/9. Stands in for the
/// largest result where that is small by accident (an output of one element).
fn typical(k: usize) -> f64 {
    (k as f64).sqrt() / 3.0
}

fn product(form: Form, a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    match form {
        Form::NN => matmul(a, b, m, n, k),
        Form::NT => matmul_nt(a, b, m, n, k),
        Form::TN => matmul_tn(a, b, m, n, k),
    }
}

fn dims(form: Form, m: usize, n: usize, k: usize) -> ([usize; 2], [usize; 2]) {
    match form {
        Form::NN => ([m, k], [k, n]),
        Form::NT => ([m, k], [n, k]),
        Form::TN => ([k, m], [k, n]),
    }
}

fn check(gpu: &Gpu, form: Form, f16: bool, epilogue: Epilogue, (m, n, k): (usize, usize, usize)) {
    use Epilogue::*;
    let what = format!("{} {form:?} {m}×{n}×{k} f16={f16} {epilogue:?}", gpu.gemm_variant());
    let mut random = Random::new((m * 1_000_000 + n * 1000 + k) as u64);
    let (a_dims, b_dims) = dims(form, m, n, k);
    let (a, a_device) = random.tensor(gpu, a_dims);
    let mut b = random.values(n * k);
    let b_device = if f16 {
        let bits: Vec<u16> = b.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
        b = bits.iter().map(|&v| half::f16::from_bits(v).to_f32()).collect();
        gpu.upload_f16(b_dims, &bits).unwrap()
    } else {
        gpu.upload(b_dims, &b).unwrap()
    };
    let (bias, bias_device) = random.tensor(gpu, [n]);
    let (residual, residual_device) = random.tensor(gpu, [m, n]);
    let (before, c) = random.tensor(gpu, [m, n]);
    let (pre, pre_device) = random.tensor(gpu, [m, n]);

    let form_op = match form {
        Form::NN => Gemm::nn(&a_device, &b_device, &c),
        Form::NT => Gemm::nt(&a_device, &b_device, &c),
        Form::TN => Gemm::tn(&a_device, &b_device, &c),
    };
    let mut op = form_op;
    let mut wanted = product(form, &wide(&a), &wide(&b), m, n, k);
    let alpha = -0.375f32;
    if matches!(epilogue, Alpha | All) {
        op = op.alpha(alpha);
        wanted.iter_mut().for_each(|v| *v *= f64::from(alpha));
    }
    if matches!(epilogue, Bias | Gelu | All) {
        op = op.bias(&bias_device);
        wanted.iter_mut().enumerate().for_each(|(i, v)| *v += f64::from(bias[i % n]));
    }
    let mut wanted_pre = None;
    if matches!(epilogue, Gelu | All) {
        op = op.gelu(&pre_device);
        wanted_pre = Some(wanted.clone());
        wanted.iter_mut().for_each(|v| *v = gelu_new(*v));
    }
    if epilogue == GeluBackward {
        op = op.gelu_backward(&pre_device);
        wanted.iter_mut().zip(&pre).for_each(|(v, f)| *v *= gelu_new_derivative(f64::from(*f)));
    }
    if matches!(epilogue, Residual | All) {
        op = op.residual(&residual_device);
        wanted.iter_mut().zip(&residual).for_each(|(v, r)| *v += f64::from(*r));
    }
    if matches!(epilogue, Accumulate | All) {
        op = op.accumulate(true);
        wanted.iter_mut().zip(&before).for_each(|(v, c)| *v += f64::from(*c));
    }
    run(gpu, |recorder| gemm(recorder, op).unwrap());
    let scale = largest(&wanted).max(typical(k));
    assert_close_at(&what, &gpu.read(&c).unwrap(), &wanted, bound(k), scale);
    if let Some(wanted) = wanted_pre {
        let scale = largest(&wanted).max(typical(k));
        let what = format!("{what}, pre-activation");
        assert_close_at(&what, &gpu.read(&pre_device).unwrap(), &wanted, bound(k), scale);
    }
}

/// Off every tile, on every tile, thinner than a vector, one row, one column, long sums.
const SHAPES: [(usize, usize, usize); 22] = [
    (1, 1, 1),
    (1, 3, 4),
    (3, 1, 5),
    (4, 4, 4),
    (5, 7, 3),
    (7, 5, 8),
    (8, 8, 9),
    (9, 31, 1),
    (31, 9, 32),
    (32, 32, 32),
    (33, 33, 31),
    (37, 64, 33),
    (63, 65, 37),
    (64, 64, 64),
    (65, 63, 97),
    (97, 37, 65),
    (1, 97, 128),
    (1, 128, 97),
    (128, 1, 64),
    (2, 257, 4),
    (129, 36, 1000),
    (12, 68, 3072),
];

fn shapes_of(variant: GemmVariant) {
    let Some(gpu) = with_variant(variant) else { return };
    for form in FORMS {
        for shape in SHAPES {
            check(gpu, form, false, Epilogue::Plain, shape);
            if form != Form::TN {
                check(gpu, form, true, Epilogue::Plain, shape);
            }
        }
    }
}

fn epilogues_of(variant: GemmVariant) {
    let Some(gpu) = with_variant(variant) else { return };
    for form in FORMS {
        for epilogue in EPILOGUES {
            // Rows of whole vectors; of parts of vectors, where the epilogue reads and writes by element.
            check(gpu, form, false, epilogue, (36, 68, 20));
            if form != Form::TN {
                check(gpu, form, true, epilogue, (36, 68, 20));
            }
            if matches!(epilogue, Epilogue::All | Epilogue::GeluBackward) {
                check(gpu, form, false, epilogue, (35, 67, 20));
            }
        }
    }
}

#[test]
fn portable_shapes() {
    shapes_of(GemmVariant::Portable);
}

#[test]
fn subgroup_shapes() {
    shapes_of(GemmVariant::Subgroup);
}

#[test]
fn workgroup_shapes() {
    shapes_of(GemmVariant::Workgroup);
}

#[test]
fn image_shapes() {
    shapes_of(GemmVariant::Image);
}

#[test]
fn portable_epilogues() {
    epilogues_of(GemmVariant::Portable);
}

#[test]
fn subgroup_epilogues() {
    epilogues_of(GemmVariant::Subgroup);
}

#[test]
fn workgroup_epilogues() {
    epilogues_of(GemmVariant::Workgroup);
}

#[test]
fn image_epilogues() {
    epilogues_of(GemmVariant::Image);
}

/// A matrix on the host, cut out of a larger array.
fn cut(x: &[f32], offset: usize, stride: usize, rows: usize, columns: usize) -> Vec<f64> {
    (0..rows).flat_map(|r| wide(&x[offset + r * stride..][..columns])).collect()
}

#[test]
fn views_of_rows_and_columns() {
    for variant in GemmVariant::ALL {
        let Some(gpu) = with_variant(variant) else { continue };
        // (rows, columns and first row, first column of the view) on and off the vectors' boundaries.
        for (first_row, first_column, k) in [(2, 4, 12), (3, 5, 11), (1, 8, 9)] {
            let (m, n) = (10, 13);
            let mut random = Random::new(7);
            let (a, a_device) = random.tensor(gpu, [m + first_row + 1, 32]);
            let (b, b_device) = random.tensor(gpu, [k + first_row + 2, 24]);
            let (before, c_device) = random.tensor(gpu, [m + 5, 24]);
            run(gpu, |recorder| {
                let a = Matrix::of(&a_device).rows(first_row, m).columns(first_column, k);
                let b = Matrix::of(&b_device).rows(first_row, k).columns(first_column, n);
                let c = Matrix::of(&c_device).rows(3, m).columns(first_column, n);
                gemm(recorder, Gemm::nn(a, b, c)).unwrap();
            });
            let a = cut(&a, first_row * 32 + first_column, 32, m, k);
            let b = cut(&b, first_row * 24 + first_column, 24, k, n);
            let product = matmul(&a, &b, m, n, k);
            let mut wanted = wide(&before);
            for r in 0..m {
                wanted[(r + 3) * 24 + first_column..][..n].copy_from_slice(&product[r * n..][..n]);
            }
            let what = format!("{variant} view from ({first_row}, {first_column})");
            let found = gpu.read(&c_device).unwrap();
            assert_close_at(&what, &found, &wanted, bound(k), largest(&wanted));
            // What lies outside the view keeps its bits.
            for (i, (f, b)) in found.iter().zip(&before).enumerate() {
                let (r, column) = (i / 24, i % 24);
                let inside = (3..3 + m).contains(&r) && (first_column..first_column + n).contains(&column);
                assert!(inside || f.to_bits() == b.to_bits(), "{what}: wrote ({r}, {column})");
            }
        }
    }
}

/// Scores, values and their backward products as attention uses them: heads inside `[B·T, 3D]`.
fn heads_in_place(gpu: &Gpu, batches: usize, heads: usize, t: usize, d: usize) {
    let width = heads * d;
    let stride = 3 * width;
    let maps = batches * heads;
    let mut random = Random::new((t * 100 + d) as u64);
    let (qkv, qkv_device) = random.tensor(gpu, [batches * t, stride]);
    let (maps_before, scores_device) = random.tensor(gpu, [maps, t, t]);
    // Lower-triangular maps, for the products that read one.
    let mut lower = random.values(maps * t * t);
    lower.iter_mut().enumerate().for_each(|(i, v)| {
        if i % t > i / t % t {
            *v = 0.0;
        }
    });
    let lower_device = gpu.upload([maps, t, t], &lower).unwrap();
    let (o_before, o_device) = random.tensor(gpu, [batches * t, width]);
    let (grad_before, grad_device) = random.tensor(gpu, [batches * t, stride]);
    assert_eq!(maps_before.len(), maps * t * t);

    let part = |i: usize| Matrix::of(&qkv_device).columns(i * width, d).rows(0, t).strides(t * stride, d);
    let map = |tensor| Matrix::of(tensor).rows(0, t).strides(heads * t * t, t * t);
    let o = Matrix::of(&o_device).columns(0, d).rows(0, t).strides(t * width, d);
    let dk = Matrix::of(&grad_device).columns(width, d).rows(0, t).strides(t * stride, d);
    run(gpu, |recorder| {
        let scores = Gemm::nt(part(0), part(1), map(&scores_device)).maps(batches, heads).alpha(0.25);
        gemm(recorder, scores.causal(Causal::LowerC)).unwrap();
        let values = Gemm::nn(map(&lower_device), part(2), o).maps(batches, heads);
        gemm(recorder, values.causal(Causal::LowerA)).unwrap();
        let keys = Gemm::tn(map(&lower_device), part(0), dk).maps(batches, heads);
        gemm(recorder, keys.causal(Causal::LowerTransposedA)).unwrap();
    });
    let (scores, o, grad) =
        (gpu.read(&scores_device).unwrap(), gpu.read(&o_device).unwrap(), gpu.read(&grad_device).unwrap());
    let what = |name: &str| format!("{} {name} B={batches} H={heads} T={t} d={d}", gpu.gemm_variant());
    for batch in 0..batches {
        for head in 0..heads {
            let part = |i: usize| cut(&qkv, batch * t * stride + i * width + head * d, stride, t, d);
            let (q, k, v) = (part(0), part(1), part(2));
            let at = (batch * heads + head) * t * t;
            let map = wide(&lower[at..][..t * t]);

            let wanted = matmul_nt(&q, &k, t, t, d);
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            for i in 0..t {
                for j in 0..t {
                    let value = scores[at + i * t + j];
                    if j <= i {
                        found.push(value);
                        expected.push(0.25 * wanted[i * t + j]);
                    } else {
                        // Above the diagonal: computed or 0, never what was there before.
                        let close = (f64::from(value) - 0.25 * wanted[i * t + j]).abs()
                            <= bound(d) * (largest(&wanted) + typical(d));
                        assert!(value == 0.0 || close, "{}: ({i}, {j}) is {value}", what("scores"));
                    }
                }
            }
            let scale = largest(&expected).max(0.25 * typical(d));
            assert_close_at(&what("scores"), &found, &expected, bound(d), scale);

            let wanted = matmul(&map, &v, t, d, t);
            let found: Vec<f32> =
                (0..t).flat_map(|r| o[(batch * t + r) * width + head * d..][..d].to_vec()).collect();
            assert_close_at(&what("values"), &found, &wanted, bound(t), largest(&wanted).max(typical(1)));

            let wanted = matmul_tn(&map, &q, t, d, t);
            let found: Vec<f32> = (0..t)
                .flat_map(|r| grad[(batch * t + r) * stride + width + head * d..][..d].to_vec())
                .collect();
            assert_close_at(&what("keys"), &found, &wanted, bound(t), largest(&wanted).max(typical(1)));
        }
    }
    assert_eq!(o_before.len(), o.len());
    for (i, (found, before)) in grad.iter().zip(&grad_before).enumerate() {
        let inside = (width..2 * width).contains(&(i % stride));
        assert!(inside || found.to_bits() == before.to_bits(), "{}: wrote element {i}", what("keys"));
    }
}

#[test]
fn causal_products_of_heads_in_place() {
    for variant in GemmVariant::ALL {
        let Some(gpu) = with_variant(variant) else { continue };
        for (batches, heads, t, d) in
            [(1, 1, 1, 4), (1, 3, 9, 5), (2, 2, 37, 8), (3, 1, 64, 16), (1, 2, 97, 12), (1, 1, 130, 64)]
        {
            heads_in_place(gpu, batches, heads, t, d);
        }
    }
}

#[test]
fn gelu_far_from_zero_is_the_identity_or_zero() {
    for variant in GemmVariant::ALL {
        let Some(gpu) = with_variant(variant) else { continue };
        // The product with the identity leaves x to the epilogue.
        let x: Vec<f32> = vec![-1e4, -100.0, -20.0, -9.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 9.0, 100.0, 1e4];
        let n = x.len();
        let a = gpu.upload([1, n], &x).unwrap();
        let identity: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i % (n + 1) == 0))).collect();
        let ones = gpu.upload([1, 1], &[1.0]).unwrap();
        let one_row = gpu.upload([1, n], &vec![1.0; n]).unwrap();
        let identity = gpu.upload([n, n], &identity).unwrap();
        let (g, f, slope) =
            (gpu.tensor([1, n]).unwrap(), gpu.tensor([1, n]).unwrap(), gpu.tensor([1, n]).unwrap());
        run(gpu, |recorder| {
            gemm(recorder, Gemm::nn(&a, &identity, &g).gelu(&f)).unwrap();
            gemm(recorder, Gemm::nn(&ones, &one_row, &slope).gelu_backward(&f)).unwrap();
        });
        assert_eq!(gpu.read(&f).unwrap(), x, "{variant}: the pre-activation is what was put in");
        // Each element by its own size: tanh within a few ulp of 1 leaves |x| roundings.
        for ((found, slope), x) in gpu.read(&g).unwrap().iter().zip(gpu.read(&slope).unwrap()).zip(&x) {
            let wide = f64::from(*x);
            let bound = 8.0 * ROUNDING * wide.abs().max(1e-3);
            assert!((f64::from(*found) - gelu_new(wide)).abs() <= bound, "{variant}: gelu({x}) = {found}");
            // 1 − t² at |t| → 1 is multiplied by x·u'(x) ~ x³: clamped to 0 only beyond |u| = 9.01.
            let bound = 8.0 * ROUNDING * (1.0 + wide.abs().min(6.0).powi(3));
            let error = (f64::from(slope) - gelu_new_derivative(wide)).abs();
            assert!(error <= bound, "{variant}: gelu'({x}) = {slope}, off by {error:e}");
        }
    }
}

/// Largest error of a long f32 sum relative to the largest result, and that of a plain sequential one.
#[test]
fn long_sums_are_as_accurate_as_a_sequential_sum() {
    let (m, n, k) = (16, 64, 3072);
    let mut random = Random::new(11);
    let (a, b) = (random.values(m * k), random.values(k * n));
    let wanted = matmul(&wide(&a), &wide(&b), m, n, k);
    let sequential: Vec<f32> =
        (0..m * n).map(|i| (0..k).fold(0.0f32, |sum, p| sum + a[i / n * k + p] * b[p * n + i % n])).collect();
    let plain = harness::deviation(&sequential, &wanted) / largest(&wanted);
    for variant in GemmVariant::ALL {
        let Some(gpu) = with_variant(variant) else { continue };
        let a = gpu.upload([m, k], &a).unwrap();
        let b = gpu.upload([k, n], &b).unwrap();
        let c = gpu.tensor([m, n]).unwrap();
        run(gpu, |recorder| gemm(recorder, Gemm::nn(&a, &b, &c)).unwrap());
        let error = harness::deviation(&gpu.read(&c).unwrap(), &wanted) / largest(&wanted);
        // The same number of roundings in the same or a better order; maxima of samples scatter.
        assert!(error <= 2.0 * plain, "{variant}: {error:.2e}, sequential {plain:.2e}");
        eprintln!("{variant}: {error:.2e}, sequential {plain:.2e}");
    }
}
