//! Matrix products: every form and precision, shapes off every tile and large ones, views, long sums.

use super::bench::Bench;
use crate::random::{Random, to_f16, wide};
use crate::report::deviation;
use crate::rounding::{ROUNDING, Rounding};
use retrograd_gpu::ops::{Form, Gemm, Matrix, gemm};
use retrograd_gpu::{Gpu, GpuError, Tensor};
use retrograd_reference::ops::{matmul, matmul_nt, matmul_tn};

/// M, N, K.
pub(super) type Shape = (usize, usize, usize);

/// Forms and whether B is f16, which TN is not offered for.
pub(super) const FORMS: [(Form, bool); 5] =
    [(Form::NN, false), (Form::NN, true), (Form::NT, false), (Form::NT, true), (Form::TN, false)];

/// One row, off every tile, on every tile. Each new class of sizes is a kernel to compile.
const BRIEF: [Shape; 3] = [(1, 128, 96), (33, 33, 31), (64, 64, 64)];

/// Few rows, and large ones: long sums, many workgroups.
const USUAL: [Shape; 8] = [
    (1, 1, 1),
    (3, 1, 5),
    (5, 7, 3),
    (65, 63, 97),
    (12, 68, 3072),
    (36, 128, 1000),
    (63, 65, 37),
    (320, 384, 256),
];

/// Thinner than a vector, one column, those of a GPT-2, a whole vocabulary.
const FULL: [Shape; 19] = [
    (1, 97, 128),
    (1, 128, 97),
    (129, 36, 1000),
    (1, 3, 4),
    (4, 4, 4),
    (2, 257, 4),
    (7, 5, 8),
    (8, 8, 9),
    (9, 31, 1),
    (31, 9, 32),
    (32, 32, 32),
    (37, 64, 33),
    (97, 37, 65),
    (128, 1, 64),
    (1, 768, 768),
    (64, 3072, 768),
    (64, 768, 3072),
    (16, 50_257, 64),
    (1024, 1024, 64),
];

/// Products with B in f32 or f16; the values are those that the device sees.
pub(super) struct Operands {
    pub(super) a: Vec<f64>,
    pub(super) b: Vec<f64>,
    pub(super) a_device: Tensor,
    pub(super) b_device: Tensor,
}

impl Operands {
    /// The same with B where a model keeps its weights on this device: in an image, perhaps.
    fn placed(self, gpu: &Gpu, f16: bool) -> Result<Operands, GpuError> {
        let (dims, dtype) = (self.b_device.shape(), self.b_device.dtype());
        let b_device = gpu.allocate_operand(dims, dtype)?;
        let values: Vec<f32> = self.b.iter().map(|&value| value as f32).collect();
        match f16 {
            true => gpu.write_f16(&b_device, &to_f16(&values).0)?,
            false => gpu.write(&b_device, &values)?,
        }
        Ok(Operands { b_device, ..self })
    }

    /// Random values up to 1.
    pub(super) fn new(
        gpu: &Gpu,
        random: &mut Random,
        (form, f16): (Form, bool),
        (m, n, k): Shape,
    ) -> Result<Operands, GpuError> {
        let (a_dims, b_dims) = match form {
            Form::NN => ([m, k], [k, n]),
            Form::NT => ([m, k], [n, k]),
            Form::TN => ([k, m], [k, n]),
        };
        let (a, a_device) = random.tensor(gpu, a_dims)?;
        let b = random.values(n * k);
        let (b, b_device) = if f16 {
            let (bits, rounded) = to_f16(&b);
            (wide(&rounded), gpu.upload_f16(b_dims, &bits)?)
        } else {
            (wide(&b), gpu.upload(b_dims, &b)?)
        };
        Ok(Operands { a: wide(&a), b, a_device, b_device })
    }

    /// The product in f64.
    pub(super) fn product(&self, form: Form, (m, n, k): Shape) -> Vec<f64> {
        match form {
            Form::NN => matmul(&self.a, &self.b, m, n, k),
            Form::NT => matmul_nt(&self.a, &self.b, m, n, k),
            Form::TN => matmul_tn(&self.a, &self.b, m, n, k),
        }
    }

    /// The product into `c`.
    pub(super) fn op<'a>(&'a self, form: Form, c: &'a Tensor) -> Gemm<'a> {
        match form {
            Form::NN => Gemm::nn(&self.a_device, &self.b_device, c),
            Form::NT => Gemm::nt(&self.a_device, &self.b_device, c),
            Form::TN => Gemm::tn(&self.a_device, &self.b_device, c),
        }
    }
}

/// Rounding of a product of numbers up to 1. Products of two uniform numbers have variance 1/9, so √K/3 is the
/// size of a typical result: it stands in for the largest where that is small by accident.
pub(super) fn product_rounding(k: usize) -> Rounding {
    Rounding::sum(k).of_at_least((k as f64).sqrt() / 3.0)
}

pub(super) fn type_name(f16: bool) -> &'static str {
    if f16 { "f16" } else { "f32" }
}

pub(super) fn forms(bench: &mut Bench) -> Result<(), GpuError> {
    for (form, f16) in FORMS {
        bench.row(format!("gemm {form:?} {}", type_name(f16)));
        for shape in bench.cases(&BRIEF, &USUAL, &FULL) {
            let (m, n, k) = shape;
            let mut random = Random::new((m * 1_000_000 + n * 1000 + k) as u64);
            let operands = Operands::new(bench.gpu, &mut random, (form, f16), shape)?;
            // What was there before must not shine through.
            let (_, c) = random.tensor(bench.gpu, [m, n])?;
            bench.run(|recorder| gemm(recorder, operands.op(form, &c)))?;
            let wanted = operands.product(form, shape);
            bench.compare(format!("{m}×{n}×{k}"), &c, &wanted, product_rounding(k))?;
            // A gradient's factors are what a pass leaves behind; weights lie where products read them fastest.
            if form != Form::TN && bench.gpu.max_operand_rows().is_some() {
                let operands = operands.placed(bench.gpu, f16)?;
                bench.run(|recorder| gemm(recorder, operands.op(form, &c)))?;
                bench.compare(format!("{m}×{n}×{k} with a weight"), &c, &wanted, product_rounding(k))?;
            }
        }
    }
    bench.row("gemm of views".to_owned());
    views(bench)?;
    bench.row("gemm NN f32".to_owned());
    long_sums(bench)
}

/// A matrix on the host, cut out of a larger array.
pub(super) fn cut(x: &[f32], offset: usize, stride: usize, rows: usize, columns: usize) -> Vec<f64> {
    (0..rows).flat_map(|r| wide(&x[offset + r * stride..][..columns])).collect()
}

/// Operands and result inside larger tensors, on and off the vectors' boundaries.
fn views(bench: &mut Bench) -> Result<(), GpuError> {
    for (first_row, first_column, k) in [(2, 4, 12), (3, 5, 11), (1, 8, 9)] {
        let (m, n) = (10, 13);
        let mut random = Random::new(7);
        let (a, a_device) = random.tensor(bench.gpu, [m + first_row + 1, 32])?;
        let (b, b_device) = random.tensor(bench.gpu, [k + first_row + 2, 24])?;
        let (before, c_device) = random.tensor(bench.gpu, [m + 5, 24])?;
        bench.run(|recorder| {
            let a = Matrix::of(&a_device).rows(first_row, m).columns(first_column, k);
            let b = Matrix::of(&b_device).rows(first_row, k).columns(first_column, n);
            let c = Matrix::of(&c_device).rows(3, m).columns(first_column, n);
            gemm(recorder, Gemm::nn(a, b, c))
        })?;
        let a = cut(&a, first_row * 32 + first_column, 32, m, k);
        let b = cut(&b, first_row * 24 + first_column, 24, k, n);
        let wanted = matmul(&a, &b, m, n, k);
        let inside = |i: &usize| {
            (3..3 + m).contains(&(i / 24)) && (first_column..first_column + n).contains(&(i % 24))
        };
        let found = bench.gpu.read(&c_device)?;
        let case = format!("from row {first_row}, column {first_column}");
        let product: Vec<f32> = (0..found.len()).filter(inside).map(|i| found[i]).collect();
        bench.compare_values(&case, &product, &wanted, product_rounding(k));
        let outside = |values: &[f32]| -> Vec<f32> {
            (0..values.len()).filter(|i| !inside(i)).map(|i| values[i]).collect()
        };
        bench.exactly(format!("{case}, what lies around it"), &outside(&found), &outside(&before));
    }
    Ok(())
}

/// As accurate as adding one product after the other: the same number of roundings in the same or a better
/// order; maxima of samples scatter, hence twice.
fn long_sums(bench: &mut Bench) -> Result<(), GpuError> {
    let (m, n, k) = (16, 64, 3072);
    let mut random = Random::new(11);
    let (a, a_device) = random.tensor(bench.gpu, [m, k])?;
    let (b, b_device) = random.tensor(bench.gpu, [k, n])?;
    let c = bench.gpu.tensor([m, n])?;
    bench.run(|recorder| gemm(recorder, Gemm::nn(&a_device, &b_device, &c)))?;
    let wanted = matmul(&wide(&a), &wide(&b), m, n, k);
    let one_by_one = |i: usize| (0..k).fold(0.0f32, |sum, p| sum + a[i / n * k + p] * b[p * n + i % n]);
    let sequential: Vec<f32> = (0..m * n).map(one_by_one).collect();
    let error = deviation(&sequential, &wanted) / crate::report::largest(&wanted);
    let rounding = Rounding::steps(2.0 * error / ROUNDING);
    bench.compare(format!("{m}×{n}×{k} beside a sum in order"), &c, &wanted, rounding)
}
