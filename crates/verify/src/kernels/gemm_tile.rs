//! The tiles of the workgroup variant, each in turn, whether or not a device chooses them for products so small.

use super::bench::Bench;
use super::gemm::{Operands, product_rounding};
use super::gemm_heads;
use crate::random::Random;
use retrograd_gpu::GpuError;
use retrograd_gpu::ops::{Form, gemm};

/// M and N off every tile and more than most; K several slabs of any depth and a part of one.
const SHAPE: (usize, usize, usize) = (100, 132, 300);

/// What a tile's geometry decides: where slabs lie, which sums belong together, where a triangle ends. Loads and epilogues
/// are those of `gemm` and `gemm_epilogue`.
pub(super) fn geometry(bench: &mut Bench) -> Result<(), GpuError> {
    let (m, n, k) = SHAPE;
    for form in [Form::NN, Form::NT, Form::TN] {
        let mut random = Random::new(form as u64 + 17);
        let operands = Operands::new(bench.gpu, &mut random, (form, false), SHAPE)?;
        let (_, c) = random.tensor(bench.gpu, [m, n])?;
        bench.run(|recorder| gemm(recorder, operands.op(form, &c)))?;
        let case = format!("{form:?} {m}×{n}×{k}");
        bench.compare(case, &c, &operands.product(form, SHAPE), product_rounding(k))?;
    }
    gemm_heads::check(bench, (1, 2, 132, 16))
}
