//! A = Q·R by Householder reflections (Golub and Van Loan, *Matrix Computations*, 5.2).
//!
//! ```text
//! H_j = I − τ_j·v_j·v_jᵀ, v_j zero above row j and 1 in row j      Q = H_0·H_1·…      R = Qᵀ·A
//! ```

use super::{Columns, add_scaled, dot};

/// The reflections, below the diagonal of `reflections`, and R on and above it.
pub(crate) struct Qr {
    reflections: Columns,
    taus: Vec<f64>,
}

impl Qr {
    /// Factors a matrix of any shape; R has min(rows, columns) rows.
    pub(crate) fn new(mut a: Columns) -> Self {
        let steps = a.rows.min(a.columns.len());
        let mut taus = Vec::with_capacity(steps);
        for j in 0..steps {
            let (done, rest) = a.columns.split_at_mut(j + 1);
            let column = &mut done[j][j..];
            let norm = dot(column, column).sqrt();
            if norm == 0.0 {
                taus.push(0.0);
                continue;
            }
            // The sign that adds: no cancellation in v_0.
            let alpha = if column[0] > 0.0 { -norm } else { norm };
            let first = column[0] - alpha;
            let tau = -first / alpha;
            for value in &mut column[1..] {
                *value /= first;
            }
            column[0] = 1.0;
            for other in rest {
                let other = &mut other[j..];
                let share = tau * dot(column, other);
                add_scaled(other, -share, column);
            }
            // v_0 is 1 and need not be kept: R's diagonal stands there.
            column[0] = alpha;
            taus.push(tau);
        }
        Qr { reflections: a, taus }
    }

    /// min(rows, columns) of the matrix.
    pub(crate) fn rank(&self) -> usize {
        self.taus.len()
    }

    /// R `[rank, columns]`.
    pub(crate) fn r(&self) -> Columns {
        let rank = self.rank();
        let column = |(j, column): (usize, &Vec<f64>)| {
            let mut upper = column[..rank].to_vec();
            upper.iter_mut().skip(j + 1).for_each(|value| *value = 0.0);
            upper
        };
        Columns { rows: rank, columns: self.reflections.columns.iter().enumerate().map(column).collect() }
    }

    /// Q·y for y `[rank]`.
    pub(crate) fn apply(&self, y: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; self.reflections.rows];
        out[..y.len()].copy_from_slice(y);
        for (j, &tau) in self.taus.iter().enumerate().rev() {
            let below = &self.reflections.columns[j][j + 1..];
            let (head, tail) = out[j..].split_at_mut(1);
            let share = tau * (head[0] + dot(below, tail));
            head[0] -= share;
            add_scaled(tail, -share, below);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{orthonormality, random};
    use super::*;

    #[test]
    fn q_times_r_is_the_matrix_and_q_is_orthonormal() {
        for (rows, columns) in [(1, 1), (7, 3), (3, 7), (33, 33), (130, 20)] {
            let mut a = random(rows, columns, (rows * 100 + columns) as u64);
            if columns > 4 {
                a.columns[3] = vec![0.0; rows];
                a.columns[4] = a.columns[0].clone();
            }
            let qr = Qr::new(a.clone());
            let unit = |i: usize| (0..qr.rank()).map(|j| f64::from(u8::from(i == j))).collect::<Vec<f64>>();
            let q: Vec<Vec<f64>> = (0..qr.rank()).map(|i| qr.apply(&unit(i))).collect();
            assert!(orthonormality(&q) < 1e-14, "{rows}×{columns}: {}", orthonormality(&q));
            for (column, r) in a.columns.iter().zip(&qr.r().columns) {
                let product = qr.apply(r);
                let off = column.iter().zip(&product).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
                assert!(off < 1e-13, "{rows}×{columns}: {off}");
            }
        }
    }
}
