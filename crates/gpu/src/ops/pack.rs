//! Matrices from buffers into images and back. Kernels: `shaders/pack.wgsl`, `shaders/unpack.wgsl`.

use super::{Matrix, expect};
use crate::image::ImageLayout;
use crate::kernel::Kernel;
use crate::{Dtype, GpuError, Recorder, Tensor};

/// Operands of [`pack`].
#[derive(Clone, Copy, Debug)]
pub struct Pack<'a> {
    /// `[rows, columns]` in a buffer, f32 or f16.
    pub source: Matrix<'a>,
    /// `[≥ first_row + rows, columns]`, an image of the same element type: result.
    pub image: &'a Tensor,
    /// The image's row that receives the source's first.
    pub first_row: usize,
}

/// Copies a matrix into rows of an image: by the device's own copy where rows begin where that asks for it, else by a
/// kernel.
pub fn pack(recorder: &mut Recorder, op: Pack<'_>) -> Result<(), GpuError> {
    const OP: &str = "pack";
    let Pack { source, image, first_row } = op;
    let (rows, columns) = (source.rows, source.columns);
    if !image.is_image() {
        return Err(GpuError::Layout { op: OP, operand: "image", expected: "an image" });
    }
    if source.tensor.dtype() != image.dtype() || image.dtype() == Dtype::U32 {
        return Err(GpuError::Dtype {
            op: OP,
            operand: "source",
            expected: "expected the image's, f32 or f16",
        });
    }
    if image.shape().columns() != columns || image.shape().rows() < first_row + rows {
        return Err(GpuError::Shape {
            op: OP,
            operand: "image",
            found: image.shape(),
            expected: format!("at least {} rows of {columns}", first_row + rows),
        });
    }
    expect::at_least(OP, "source", source.tensor, source.end(1, 1))?;
    let bytes = image.dtype().bytes();
    let (offset, stride) = (source.offset * bytes, source.row_stride * bytes);
    let by_rows = image.image_layout() == Some(ImageLayout::Rows);
    // A copy's rows begin at multiples of 256 bytes, and it moves whole texels.
    let aligned = stride.is_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT as usize)
        && offset.is_multiple_of(4 * bytes)
        && columns.is_multiple_of(4);
    if by_rows && aligned && first_row == 0 {
        let (stride, rows) = (expect::index(OP, stride)?, expect::index(OP, rows)?);
        recorder.copy_to_image(source.tensor, offset as u64, stride, image, rows);
        return Ok(());
    }
    let f16 = image.dtype() == Dtype::F16;
    let vec = source.quads() && !f16;
    let options = [
        ("rows", by_rows.into()),
        ("f16", f16.into()),
        ("vec", vec.into()),
        ("wide", (vec && recorder.gpu.capabilities().wide_loads).into()),
    ];
    let params = [rows, columns, source.row_stride, source.offset, first_row];
    let params = params.map(|value| expect::index(OP, value));
    let params = params.into_iter().collect::<Result<Vec<u32>, GpuError>>()?;
    recorder.dispatch(
        &Kernel::new("pack", options),
        &[(1, source.tensor), (2, image)],
        &params,
        expect::column_grid(columns.div_ceil(4), rows),
    )
}

/// Operands of [`unpack`].
#[derive(Clone, Copy, Debug)]
pub struct Unpack<'a> {
    /// `[≥ first_row + rows, columns]`, an image.
    pub image: &'a Tensor,
    /// Its first row that is wanted.
    pub first_row: usize,
    /// `[rows, columns]` f32: result.
    pub out: &'a Tensor,
}

/// Copies rows of an image into a buffer.
pub fn unpack(recorder: &mut Recorder, op: Unpack<'_>) -> Result<(), GpuError> {
    const OP: &str = "unpack";
    let Unpack { image, first_row, out } = op;
    let (rows, columns) = (out.shape().rows(), out.shape().columns());
    if !image.is_image() {
        return Err(GpuError::Layout { op: OP, operand: "image", expected: "an image" });
    }
    expect::f32(OP, &[("out", out)])?;
    if image.shape().columns() != columns || image.shape().rows() < first_row + rows {
        return Err(GpuError::Shape {
            op: OP,
            operand: "image",
            found: image.shape(),
            expected: format!("at least {} rows of {columns}", first_row + rows),
        });
    }
    let by_rows = image.image_layout() == Some(ImageLayout::Rows);
    let options = [("rows", by_rows.into()), ("f16", (image.dtype() == Dtype::F16).into())];
    recorder.dispatch(
        &Kernel::new("unpack", options),
        &[(1, image), (2, out)],
        &[expect::index(OP, rows)?, expect::index(OP, columns)?, expect::index(OP, first_row)?],
        expect::column_grid(columns, rows),
    )
}
