//! C = U·Σ·Vᵀ by one-sided Jacobi rotations (Hestenes 1958; Golub and Van Loan, *Matrix Computations*, 8.6.3).
//!
//! ```text
//! rotate pairs of columns of C until all are orthogonal:  C·V = U·Σ
//! for columns a, b:  ζ = (‖b‖² − ‖a‖²)/(2·a·b)    t = sign(ζ)/(|ζ| + √(1 + ζ²))    c = 1/√(1 + t²)    s = c·t
//! ```
//!
//! Each singular value comes out to nearly full relative accuracy, however small beside the largest.

use super::{Columns, dot};

/// Singular values, descending, with their vectors: `left[i]` and `right[i]` belong to `values[i]`. Vectors of
/// a value of 0 are left out.
pub(crate) struct SmallSvd {
    pub(crate) values: Vec<f64>,
    pub(crate) left: Vec<Vec<f64>>,
    pub(crate) right: Vec<Vec<f64>>,
}

/// Rounds over all pairs at most; convergence is quadratic, and takes 6 to 10.
const ROUNDS: usize = 60;

/// Factors a matrix of any shape.
pub(crate) fn svd(c: &Columns) -> SmallSvd {
    if c.columns.len() > c.rows {
        let SmallSvd { values, left, right } = svd(&c.transposed());
        return SmallSvd { values, left: right, right: left };
    }
    let n = c.columns.len();
    let mut v = Columns::zeros(n, n);
    for (j, column) in v.columns.iter_mut().enumerate() {
        column[j] = 1.0;
    }
    let mut a = c.columns.clone();
    // Longest first: fewer rounds.
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| dot(&a[j], &a[j]).total_cmp(&dot(&a[i], &a[i])));
    a = order.iter().map(|&j| std::mem::take(&mut a[j])).collect();
    let mut v: Vec<Vec<f64>> = order.iter().map(|&j| std::mem::take(&mut v.columns[j])).collect();

    let tolerance = f64::EPSILON * (c.rows.max(1) as f64).sqrt();
    for _ in 0..ROUNDS {
        let mut rotated = false;
        let mut squares: Vec<f64> = a.iter().map(|column| dot(column, column)).collect();
        for i in 0..n {
            for j in i + 1..n {
                let (aa, bb, ab) = (squares[i], squares[j], dot(&a[i], &a[j]));
                if ab.abs() <= tolerance * (aa * bb).sqrt() {
                    continue;
                }
                rotated = true;
                let zeta = (bb - aa) / (2.0 * ab);
                let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cosine = 1.0 / (1.0 + t * t).sqrt();
                let sine = cosine * t;
                for columns in [&mut a, &mut v] {
                    let (left, right) = columns.split_at_mut(j);
                    rotate(&mut left[i], &mut right[0], cosine, sine);
                }
                squares[i] = updated(aa, -t * ab, &a[i]);
                squares[j] = updated(bb, t * ab, &a[j]);
            }
        }
        if !rotated {
            break;
        }
    }

    let norms: Vec<f64> = a.iter().map(|column| dot(column, column).sqrt()).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| norms[j].total_cmp(&norms[i]));
    let nonzero = order.iter().copied().filter(|&j| norms[j] > 0.0);
    SmallSvd {
        values: order.iter().map(|&j| norms[j]).collect(),
        left: nonzero.clone().map(|j| a[j].iter().map(|value| value / norms[j]).collect()).collect(),
        right: nonzero.map(|j| std::mem::take(&mut v[j])).collect(),
    }
}

/// ‖a‖² after a rotation changed it by `change`; taken anew where most of it cancelled.
fn updated(square: f64, change: f64, a: &[f64]) -> f64 {
    let updated = square + change;
    if updated > 1e-3 * square { updated } else { dot(a, a) }
}

/// (a, b) ← (c·a − s·b, s·a + c·b)
fn rotate(a: &mut [f64], b: &mut [f64], cosine: f64, sine: f64) {
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{orthonormality, random};
    use super::*;

    fn check(c: &Columns) -> SmallSvd {
        let svd = svd(c);
        assert_eq!(svd.values.len(), c.rows.min(c.columns.len()));
        assert!(svd.values.is_sorted_by(|a, b| a >= b));
        let largest = svd.values.first().copied().unwrap_or(0.0);
        for (j, column) in c.columns.iter().enumerate() {
            for (i, &wanted) in column.iter().enumerate() {
                let sum: f64 =
                    (0..svd.left.len()).map(|k| svd.values[k] * svd.left[k][i] * svd.right[k][j]).sum();
                assert!((sum - wanted).abs() <= 1e-13 * largest, "{}×{}", c.rows, c.columns.len());
            }
        }
        svd
    }

    #[test]
    fn the_parts_make_the_matrix_again() {
        for (rows, columns) in [(1, 1), (5, 5), (9, 4), (4, 9), (64, 64)] {
            let c = random(rows, columns, (rows * 10 + columns) as u64);
            let svd = check(&c);
            assert!(orthonormality(&svd.left) < 1e-13 && orthonormality(&svd.right) < 1e-13);
        }
    }

    #[test]
    fn a_matrix_whose_values_are_known() {
        // diag(3, 1e-9, 2) turned by a rotation on each side.
        let (c, s) = (0.6, 0.8);
        let left = [[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]];
        let right = [[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]];
        let values = [3.0, 1e-9, 2.0];
        let mut matrix = Columns::zeros(3, 3);
        for (j, column) in matrix.columns.iter_mut().enumerate() {
            for (i, entry) in column.iter_mut().enumerate() {
                *entry = (0..3).map(|k| left[k][i] * values[k] * right[k][j]).sum();
            }
        }
        let found = check(&matrix).values;
        for (found, wanted) in found.iter().zip([3.0, 2.0, 1e-9]) {
            assert!((found - wanted).abs() < 1e-15, "{found} {wanted}");
        }
    }

    #[test]
    fn zero_and_repeated_columns() {
        let mut c = random(12, 6, 4);
        c.columns[1] = vec![0.0; 12];
        c.columns[4] = c.columns[2].clone();
        let svd = check(&c);
        assert!(svd.values[4] < 1e-14 * svd.values[0] && svd.values[3] > 1e-3);
        let none = check(&Columns::zeros(3, 2));
        assert_eq!((none.values, none.left.len()), (vec![0.0, 0.0], 0));
        assert!(svd_of_nothing().values.is_empty());
    }

    fn svd_of_nothing() -> SmallSvd {
        svd(&Columns::zeros(0, 0))
    }
}
