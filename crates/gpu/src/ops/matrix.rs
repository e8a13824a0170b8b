//! Matrices inside tensors: what products and copies take as operands.

use crate::Tensor;

/// A matrix inside a tensor: element (r, c) of map (batch, head) lies at
/// `offset + batch·batch_stride + head·head_stride + r·row_stride + c`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub(super) tensor: &'a Tensor,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) offset: usize,
    pub(super) batch_stride: usize,
    pub(super) head_stride: usize,
}

impl<'a> From<&'a Tensor> for Matrix<'a> {
    /// The tensor as `[rows, columns]`, its last dimension the columns.
    fn from(tensor: &'a Tensor) -> Self {
        let (rows, columns) = (tensor.shape().rows(), tensor.shape().columns());
        Matrix { tensor, rows, columns, row_stride: columns, offset: 0, batch_stride: 0, head_stride: 0 }
    }
}

impl<'a> Matrix<'a> {
    /// The tensor as `[rows, columns]`, its last dimension the columns.
    pub fn of(tensor: &'a Tensor) -> Self {
        tensor.into()
    }

    /// Only rows `first .. first + count`.
    pub fn rows(self, first: usize, count: usize) -> Self {
        Matrix { offset: self.offset + first * self.row_stride, rows: count, ..self }
    }

    /// Only the rows from `first` on.
    pub fn from_row(self, first: usize) -> Self {
        let count = self.rows.saturating_sub(first);
        self.rows(first, count)
    }

    /// Only columns `first .. first + count`.
    pub fn columns(self, first: usize, count: usize) -> Self {
        Matrix { offset: self.offset + first, columns: count, ..self }
    }

    /// One matrix per (batch entry, head), so far apart.
    pub fn strides(self, batch_stride: usize, head_stride: usize) -> Self {
        Matrix { batch_stride, head_stride, ..self }
    }

    /// One past the last element that is touched.
    pub(super) fn end(&self, batches: usize, heads: usize) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        self.offset
            + (batches - 1) * self.batch_stride
            + (heads - 1) * self.head_stride
            + (self.rows - 1) * self.row_stride
            + self.columns
    }

    /// Whether every row of every head ends inside a row of the tensor.
    pub(super) fn fits_rows(&self, heads: usize) -> bool {
        let stride = self.row_stride.max(1);
        (0..heads).all(|head| (self.offset + head * self.head_stride) % stride + self.columns <= stride)
    }

    /// Whether four neighbours along a row can be loaded at once.
    pub(super) fn quads(&self) -> bool {
        [self.columns, self.row_stride, self.offset, self.batch_stride, self.head_stride]
            .iter()
            .all(|x| x % 4 == 0)
    }
}
