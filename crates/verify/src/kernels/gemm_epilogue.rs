//! What a product does to its result before it is stored.

use super::bench::Bench;
use super::gemm::{FORMS, Operands, Shape, product_rounding, type_name};
use crate::Scope;
use crate::random::Random;

use crate::rounding::{Rounding, gelu_slope_rounding};
use retrograd_gpu::GpuError;
use retrograd_gpu::ops::{Form, Gemm, gemm};
use retrograd_reference::ops::{gelu_new, gelu_new_derivative};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Epilogue {
    Alpha,
    Bias,
    Gelu,
    GeluBackward,
    Residual,
    Accumulate,
    /// Everything that can be asked for together: the order of the parts shows.
    All,
}

/// Everything at once.
const BRIEF: [Epilogue; 1] = [Epilogue::All];
/// What a GPT-2 asks for besides.
const USUAL: [Epilogue; 1] = [Epilogue::GeluBackward];
const FULL: [Epilogue; 5] =
    [Epilogue::Alpha, Epilogue::Bias, Epilogue::Gelu, Epilogue::Residual, Epilogue::Accumulate];

/// Rows of whole vectors; of parts of vectors, where the epilogue reads and writes by element.
const SHAPES: [Shape; 2] = [(36, 68, 20), (35, 67, 20)];

pub(super) fn epilogues(bench: &mut Bench) -> Result<(), GpuError> {
    for (form, f16) in FORMS {
        bench.row(format!("gemm epilogue {}", type_name(f16)));
        for epilogue in bench.cases(&BRIEF, &USUAL, &FULL) {
            // A GPT-2 multiplies by gelu' what it multiplies by a transposed weight.
            if epilogue == Epilogue::GeluBackward && form != Form::NT && bench.scope < Scope::Full {
                continue;
            }
            // Each is a kernel to compile: partial vectors in one form, unless everything is asked for.
            let shapes = if bench.scope == Scope::Full || (form == Form::NT && !f16) { 2 } else { 1 };
            for &shape in &SHAPES[..shapes] {
                check(bench, (form, f16), epilogue, shape)?;
            }
        }
    }
    bench.row("gemm epilogue f32".to_owned());
    gelu_far_from_zero(bench)
}

fn check(bench: &mut Bench, form: (Form, bool), epilogue: Epilogue, shape: Shape) -> Result<(), GpuError> {
    use Epilogue::*;
    let (m, n, k) = shape;
    let mut random = Random::new((m * 1_000_000 + n * 1000 + k) as u64);
    let operands = Operands::new(bench.gpu, &mut random, form, shape)?;
    let (bias, bias_device) = random.tensor(bench.gpu, [n])?;
    let (residual, residual_device) = random.tensor(bench.gpu, [m, n])?;
    let (before, c) = random.tensor(bench.gpu, [m, n])?;
    let (pre, pre_device) = random.tensor(bench.gpu, [m, n])?;

    let mut op = operands.op(form.0, &c);
    let mut wanted = operands.product(form.0, shape);
    if matches!(epilogue, Alpha | All) {
        let alpha = -0.375f32;
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
    bench.run(|recorder| gemm(recorder, op))?;
    let case = format!("{:?} {m}×{n}×{k} {epilogue:?}", form.0);
    bench.compare(&case, &c, &wanted, product_rounding(k))?;
    if let Some(wanted) = wanted_pre {
        bench.compare(format!("{case}, before gelu"), &pre_device, &wanted, product_rounding(k))?;
    }
    Ok(())
}

/// There gelu is the identity or 0, and tanh NaN on some drivers. Each element by its own size.
fn gelu_far_from_zero(bench: &mut Bench) -> Result<(), GpuError> {
    // The product with the identity leaves x to the epilogue.
    let x: Vec<f32> = vec![-1e4, -100.0, -20.0, -9.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 9.0, 100.0, 1e4];
    let n = x.len();
    let a = bench.gpu.upload([1, n], &x)?;
    let identity: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i % (n + 1) == 0))).collect();
    let identity = bench.gpu.upload([n, n], &identity)?;
    let one = bench.gpu.upload([1, 1], &[1.0])?;
    let ones = bench.gpu.upload([1, n], &vec![1.0; n])?;
    let (g, f, slope) = (bench.gpu.tensor([1, n])?, bench.gpu.tensor([1, n])?, bench.gpu.tensor([1, n])?);
    bench.run(|recorder| {
        gemm(recorder, Gemm::nn(&a, &identity, &g).gelu(&f))?;
        gemm(recorder, Gemm::nn(&one, &ones, &slope).gelu_backward(&f))
    })?;
    let (g, f, slope) = (bench.gpu.read(&g)?, bench.gpu.read(&f)?, bench.gpu.read(&slope)?);
    bench.exactly("what goes into gelu", &f, &x);
    for (i, &at) in x.iter().enumerate() {
        let wide = f64::from(at);
        // tanh within a few ulp of 1 leaves |x| roundings.
        let rounding = Rounding::steps(8.0).of_at_least(wide.abs().max(1e-3));
        bench.compare_values(format!("gelu({at})"), &g[i..=i], &[gelu_new(wide)], rounding);
        let rounding = Rounding { expected: gelu_slope_rounding(wide), at_least: 1.0 };
        bench.compare_values(format!("gelu'({at})"), &slope[i..=i], &[gelu_new_derivative(wide)], rounding);
    }
    Ok(())
}
