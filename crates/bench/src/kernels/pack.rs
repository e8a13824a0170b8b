//! Matrices into images and back, where a device's products read images; elsewhere a copy between buffers.

use super::check::relative_error;
use super::values::{values, wide};
use super::{At, Case, Prepared};
use crate::BenchError;
use retrograd_gpu::ops::{Matrix, Pack, Unpack, pack, unpack};
use retrograd_gpu::{Dtype, Gpu, Recorder};

pub(super) fn cases(at: &At) -> Vec<Case> {
    let At { d, i, .. } = *at;
    let shape = format!("{d}×{i}");
    vec![
        at.case("pack", "mlp.c_fc into an image", shape.clone(), 8 * d * i, move |gpu| {
            image(gpu, d, i, false)
        }),
        at.case("unpack", "mlp.c_fc out of an image", shape, 8 * d * i, move |gpu| image(gpu, d, i, true)),
    ]
}

/// Into the image and out again: exactly what it was.
fn image(gpu: &Gpu, rows: usize, columns: usize, out_again: bool) -> Result<Prepared, BenchError> {
    let host = values(rows * columns, 0);
    let (source, out) = (gpu.upload([rows, columns], &host)?, gpu.tensor([rows, columns])?);
    let operand = gpu.allocate_operand([rows, columns], Dtype::F32)?;
    let (mut into, mut back) = (Recorder::new(gpu), Recorder::new(gpu));
    if operand.is_image() {
        pack(&mut into, Pack { source: Matrix::of(&source), image: &operand, first_row: 0 })?;
        unpack(&mut back, Unpack { image: &operand, first_row: 0, out: &out })?;
    } else {
        into.copy(&source, 0, &operand, 0, rows * columns)?;
        back.copy(&operand, 0, &out, 0, rows * columns)?;
    }
    let (into, back) = (into.finish()?, back.finish()?);
    gpu.run(&into)?;
    gpu.run(&back)?;
    let error = relative_error(&gpu.read(&out)?, &wide(&host));
    Ok(Prepared { pass: if out_again { back } else { into }, error, bound: 0.0 })
}
