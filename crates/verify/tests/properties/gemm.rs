//! Matrix products, with what is done to them before they are stored, inside larger tensors too.

use crate::bounds::{Bound, exact};
use crate::device::{agree, check, same, twice};
use crate::rounding::{DEVIATIONS, Rounding, gelu_slope_rounding};
use crate::values::{extent, values};
use proptest::prelude::*;
use retrograd_gpu::GpuError;
use retrograd_gpu::ops::{self, Form, Gemm, Matrix};
use retrograd_reference::ops::{gelu_new, gelu_new_derivative};

/// What is done to a product. Each is a kernel to compile, for each form and class of shapes: the ends of a chain that
/// verification takes apart.
#[derive(Clone, Copy, Debug)]
enum Epilogue {
    /// Nothing.
    None,
    /// α, bias, residual, accumulation.
    Sums,
    /// Bias and gelu, the value before it kept.
    Gelu,
    /// Times gelu'(f).
    GeluBackward,
}

const EPILOGUES: [(Form, Epilogue); 6] = [
    (Form::NN, Epilogue::None),
    (Form::NT, Epilogue::None),
    (Form::TN, Epilogue::None),
    // What a GPT-2 asks for, each in the form in which it does.
    (Form::NN, Epilogue::Sums),
    (Form::NN, Epilogue::Gelu),
    (Form::NT, Epilogue::GeluBackward),
];

/// Largest slope of gelu_new.
const STEEPEST: f64 = 1.13;

/// A matrix in a tensor with room around it.
#[derive(Clone, Copy)]
struct Place {
    rows: usize,
    columns: usize,
    /// Rows before and after, columns before and after.
    room: usize,
}

impl Place {
    fn dims(self) -> [usize; 2] {
        [self.rows + 2 * self.room, self.columns + 2 * self.room]
    }

    fn at(self, row: usize, column: usize) -> usize {
        (row + self.room) * self.dims()[1] + column + self.room
    }

    fn of(self, tensor: &retrograd_gpu::Tensor) -> Matrix<'_> {
        Matrix::of(tensor).rows(self.room, self.rows).columns(self.room, self.columns)
    }
}

pub(crate) fn gemm() {
    // Quads in every extent or in none: classes of shapes for which other kernels are compiled.
    let shapes = (extent(40), extent(70), extent(150), any::<bool>(), 0..4usize);
    check((prop::sample::select(&EPILOGUES[..]), shapes, values()), |((form, epilogue), shape, values)| {
        let (m, n, k, quads, room) = shape;
        let round = |x: usize| if quads { x.next_multiple_of(4) } else { x };
        // A room of quads keeps quads; whole tensors are the usual case.
        let room = if matches!(epilogue, Epilogue::None) && room == 3 { 4 } else { 0 };
        let (m, n, k) = (round(m), round(n), round(k));
        let (a_dims, b_dims) = match form {
            Form::NN => ((m, k), (k, n)),
            Form::NT => ((m, k), (n, k)),
            Form::TN => ((k, m), (k, n)),
        };
        let place = |(rows, columns)| Place { rows, columns, room };
        let (pa, pb, pc) = (place(a_dims), place(b_dims), place((m, n)));
        let mut source = values.start();
        let [a, b, c] = [pa, pb, pc].map(|place| source.values(place.dims().iter().product()));
        let (bias, residual, pre) = (source.values(n), source.values(m * n), source.values(m * n));
        let alpha = source.plain();
        let found = twice(|run| {
            let (a, b) = (run.input(pa.dims(), &a)?, run.input(pb.dims(), &b)?);
            let c = run.gpu.upload(pc.dims(), &c)?;
            let (bias, residual) = (run.input([n], &bias)?, run.input([m, n], &residual)?);
            let f = run.gpu.upload([m, n], &pre)?;
            run.run(|recorder| -> Result<(), GpuError> {
                let product = match form {
                    Form::NN => Gemm::nn(pa.of(&a), pb.of(&b), pc.of(&c)),
                    Form::NT => Gemm::nt(pa.of(&a), pb.of(&b), pc.of(&c)),
                    Form::TN => Gemm::tn(pa.of(&a), pb.of(&b), pc.of(&c)),
                };
                let product = match epilogue {
                    Epilogue::None => product,
                    Epilogue::Sums => product.alpha(alpha).bias(&bias).residual(&residual).accumulate(true),
                    Epilogue::Gelu => product.bias(&bias).gelu(&f),
                    Epilogue::GeluBackward => product.gelu_backward(&f),
                };
                ops::gemm(recorder, product)
            })?;
            Ok(vec![c, f])
        })?;
        let left = |i: usize, p: usize| if form == Form::TN { a[pa.at(p, i)] } else { a[pa.at(i, p)] };
        let right = |p: usize, j: usize| if form == Form::NT { b[pb.at(j, p)] } else { b[pb.at(p, j)] };
        let product =
            |i: usize, j: usize| (0..k).map(|p| exact(left(i, p)) * exact(right(p, j))).sum::<Bound>();
        let mut rounding = Rounding::sum(k);
        let (mut wanted, mut before) = (Vec::with_capacity(m * n), Vec::with_capacity(m * n));
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let sum = product(i, j);
            let at = i * n + j;
            let (value, kept) = match epilogue {
                Epilogue::None => (sum, exact(pre[at])),
                Epilogue::Sums => {
                    let sum = exact(alpha) * sum + exact(bias[j]) + exact(residual[at]);
                    (sum + exact(c[pc.at(i, j)]), exact(pre[at]))
                }
                Epilogue::Gelu => {
                    let f = sum + exact(bias[j]);
                    // f's error times the slope; and gelu's own, of the size of f.
                    let size = (STEEPEST + 1.0) * f.size;
                    (Bound { value: gelu_new(f.value), size, floor: 2.0 * f.floor, ..f }, f)
                }
                Epilogue::GeluBackward => {
                    let f = f64::from(pre[at]);
                    let slope = gelu_new_derivative(f);
                    // The slope's own rounding, as verification allows it, is of the size of 1 for f of any size.
                    let own = gelu_slope_rounding(f) / rounding.expected;
                    let size = sum.size * (slope.abs() + own);
                    let floor = sum.floor * (1.0 + slope.abs()) + f64::from(f32::MIN_POSITIVE);
                    // f² and f³ must fit.
                    let reach = sum.reach.max(f.abs().powi(3)).max(size);
                    (Bound { value: sum.value * slope, size, floor, reach }, exact(pre[at]))
                }
            };
            wanted.push(value);
            before.push(kept);
        }
        if matches!(epilogue, Epilogue::Gelu) {
            rounding = rounding.plus(8.0 * crate::rounding::ROUNDING / DEVIATIONS);
        }
        let inside: Vec<f32> =
            (0..m).flat_map(|i| (0..n).map(move |j| pc.at(i, j))).map(|at| found[0][at]).collect();
        agree("C", &inside, &wanted, rounding)?;
        match epilogue {
            Epilogue::Gelu => agree("before gelu", &found[1], &before, rounding)?,
            _ => same("f", &found[1], &pre)?,
        }
        let mut outside = vec![true; c.len()];
        (0..m).for_each(|i| outside[pc.at(i, 0)..pc.at(i, 0) + n].fill(false));
        let of = |values: &[f32]| -> Vec<f32> {
            (0..c.len()).filter(|&i| outside[i]).map(|i| values[i]).collect()
        };
        same("what lies around C", &of(&found[0]), &of(&c))
    });
}
