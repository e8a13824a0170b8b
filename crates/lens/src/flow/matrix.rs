//! A weight matrix on the host and the few products that the graph needs, summed in f64.

use retrograd_formats::HostTensor;
use std::ops::Range;

/// W `[in, out]`, row-major.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    columns: usize,
}

impl<'a> Matrix<'a> {
    /// A tensor with two axes.
    pub(super) fn of(tensor: &'a HostTensor) -> Self {
        Matrix { data: tensor.as_f32(), columns: tensor.shape.last().copied().unwrap_or(1).max(1) }
    }

    pub(super) fn rows(&self) -> usize {
        self.data.len() / self.columns
    }

    /// W[i, columns]
    fn part(&self, row: usize, columns: &Range<usize>) -> &'a [f32] {
        &self.data[row * self.columns + columns.start..row * self.columns + columns.end]
    }

    /// W[i]
    pub(super) fn row(&self, row: usize) -> &'a [f32] {
        self.part(row, &(0..self.columns))
    }

    /// W[:, j]
    pub(super) fn column(&self, column: usize) -> Vec<f64> {
        self.data.chunks_exact(self.columns).map(|row| f64::from(row[column])).collect()
    }

    /// x·W[rows, columns] for x as long as `rows`.
    pub(super) fn left_product(&self, x: &[f64], rows: Range<usize>, columns: Range<usize>) -> Vec<f64> {
        let mut y = vec![0.0; columns.len()];
        for (row, &x) in rows.zip(x) {
            for (y, &w) in y.iter_mut().zip(self.part(row, &columns)) {
                *y += x * f64::from(w);
            }
        }
        y
    }

    /// W[rows, columns]·y for y as long as `columns`.
    pub(super) fn right_product(&self, y: &[f64], rows: Range<usize>, columns: Range<usize>) -> Vec<f64> {
        rows.map(|row| self.part(row, &columns).iter().zip(y).map(|(&w, &y)| f64::from(w) * y).sum())
            .collect()
    }

    /// ‖W[i]‖ of every row.
    pub(super) fn row_norms(&self) -> Vec<f64> {
        self.data.chunks_exact(self.columns).map(norm32).collect()
    }
}

/// ‖v‖
pub(super) fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn norm32(v: &[f32]) -> f64 {
    v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

/// ⟨a, b⟩
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// a + b
pub(super) fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// The values in f64.
pub(super) fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().copied().map(f64::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_parts_of_a_matrix() {
        let w = HostTensor::f32([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let w = Matrix::of(&w);
        assert_eq!(w.rows(), 2);
        assert_eq!(w.left_product(&[1.0, 10.0], 0..2, 1..3), [52.0, 63.0]);
        assert_eq!(w.left_product(&[2.0], 1..2, 0..1), [8.0]);
        assert_eq!(w.right_product(&[1.0, -1.0], 0..2, 1..3), [-1.0, -1.0]);
        assert_eq!(w.column(2), [3.0, 6.0]);
        assert_eq!(w.row(1), [4.0, 5.0, 6.0]);
        assert_eq!(w.row_norms()[0], 14.0_f64.sqrt());
        assert_eq!(dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
        assert_eq!(norm(&sum(&[1.0, 2.0], &[2.0, 2.0])), 5.0);
    }
}
