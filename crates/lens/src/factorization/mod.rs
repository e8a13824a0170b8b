//! Dense factorizations in f64 of matrices as small as a prompt is long: QR by Householder reflections,
//! singular values by one-sided Jacobi rotations.
//!
//! Columns are contiguous: a trace's `[T, n]` tensor is the T columns of the n×T matrix that is factored.

mod jacobi;
mod qr;

pub(crate) use jacobi::{SmallSvd, svd};
pub(crate) use qr::Qr;

/// A matrix as its columns, each of `rows` elements.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Columns {
    pub(crate) rows: usize,
    pub(crate) columns: Vec<Vec<f64>>,
}

impl Columns {
    /// Zeros.
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Columns { rows, columns: vec![vec![0.0; rows]; columns] }
    }

    pub(crate) fn transposed(&self) -> Self {
        let row = |i: usize| self.columns.iter().map(|column| column[i]).collect();
        Columns { rows: self.columns.len(), columns: (0..self.rows).map(row).collect() }
    }
}

/// Σ a_i·b_i in eight independent sums, which the compiler turns into vector arithmetic.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// y ← y + α·x
pub(crate) fn add_scaled(y: &mut [f64], alpha: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Columns;

    /// Uniform in [−1, 1): the same numbers on every machine.
    pub(crate) fn random(rows: usize, columns: usize, seed: u64) -> Columns {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        let columns = (0..columns).map(|_| (0..rows).map(|_| draw()).collect()).collect();
        Columns { rows, columns }
    }

    /// max |AᵀA − I|
    pub(crate) fn orthonormality(a: &[Vec<f64>]) -> f64 {
        let mut worst = 0.0f64;
        for (i, x) in a.iter().enumerate() {
            for (j, y) in a.iter().enumerate() {
                let wanted = if i == j { 1.0 } else { 0.0 };
                worst = worst.max((super::dot(x, y) - wanted).abs());
            }
        }
        worst
    }
}
