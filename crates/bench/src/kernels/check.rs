//! How far a result is from what it should be, found out for less than it costs to compute it again.

use super::values::wide;
use retrograd_gpu::ops::Form;

/// Half an ulp at 1: the largest relative error of one rounding to f32.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// What rounding leaves of sums of so many terms, with a few functions of the device around them: a random walk's
/// spread eight times over.
pub(super) fn rounding(terms: usize) -> f64 {
    (8.0 * ((terms + 16) as f64).sqrt() + 8.0) * ROUNDING
}

/// max|found − wanted|/max|wanted|; infinite where something is missing or no number.
pub(super) fn relative_error(found: &[f32], wanted: &[f64]) -> f64 {
    relative_to(largest(wanted), found, wanted)
}

/// The same relative to a scale, where the largest value may be small by accident.
pub(super) fn relative_to(scale: f64, found: &[f32], wanted: &[f64]) -> f64 {
    if found.len() != wanted.len() || found.is_empty() {
        return f64::INFINITY;
    }
    found.iter().zip(wanted).fold(0.0, |most: f64, (found, wanted)| {
        let difference = (f64::from(*found) - wanted).abs();
        if difference.is_nan() { f64::INFINITY } else { most.max(difference) }
    }) / scale.max(f64::MIN_POSITIVE)
}

/// The larger error; one that is no number stays.
pub(super) fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::INFINITY } else { a.max(b) }
}

/// Largest magnitude.
pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// A product as it lies in host memory: A and B row by row with strides.
#[derive(Clone, Copy)]
pub(super) struct HostProduct<'a> {
    pub(super) form: Form,
    /// A, and how far its rows are apart.
    pub(super) a: (&'a [f32], usize),
    /// B, likewise.
    pub(super) b: (&'a [f32], usize),
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    /// Only elements up to the diagonal are compared.
    pub(super) lower: bool,
    /// Factor of the product.
    pub(super) alpha: f64,
}

impl HostProduct<'_> {
    fn a(&self, row: usize, p: usize) -> f64 {
        let (a, stride) = self.a;
        f64::from(if self.form == Form::TN { a[p * stride + row] } else { a[row * stride + p] })
    }

    fn b(&self, p: usize, column: usize) -> f64 {
        let (b, stride) = self.b;
        f64::from(if self.form == Form::NT { b[column * stride + p] } else { b[p * stride + column] })
    }

    /// Error of `c`, whose rows are `stride` apart, against f64, relative to its largest element.
    ///
    /// Two looks: some elements spread over C exactly, and every element at once by Freivalds' identity
    /// `C·x = A·(B·x)` with signs x. An element that is wrong by much more than rounding shows in its row's sum.
    pub(super) fn error(&self, c: &[f32], stride: usize) -> f64 {
        let row = |i: usize| &c[i * stride..i * stride + self.n];
        let largest = (0..self.m).flat_map(row).fold(0.0f64, |most, v| most.max(f64::from(v.abs())));
        let in_c = |i: usize, j: usize| !self.lower || j <= i;

        let mut sampled = 0.0;
        // Both ends, and strides that are prime to every tile.
        for i in (0..self.m).step_by(self.m.div_ceil(29)).chain([self.m - 1]) {
            for j in (0..self.n).step_by(self.n.div_ceil(31)).chain([self.n - 1]).filter(|&j| in_c(i, j)) {
                let wanted: f64 = self.alpha * (0..self.k).map(|p| self.a(i, p) * self.b(p, j)).sum::<f64>();
                sampled = larger(sampled, (f64::from(row(i)[j]) - wanted).abs());
            }
        }

        let signs: Vec<f64> =
            (0..self.n).map(|j| if (j * j + j / 7) % 3 == 0 { -1.0 } else { 1.0 }).collect();
        let mut summed = 0.0;
        let mut bx = vec![0.0; self.k];
        let mut added = 0;
        for i in 0..self.m {
            let until = if self.lower { (i + 1).min(self.n) } else { self.n };
            for (j, sign) in signs.iter().enumerate().take(until).skip(added) {
                for (p, sum) in bx.iter_mut().enumerate() {
                    *sum += self.b(p, j) * sign;
                }
            }
            added = added.max(until);
            let wanted: f64 =
                self.alpha * bx.iter().enumerate().map(|(p, sum)| self.a(i, p) * sum).sum::<f64>();
            let found: f64 = wide(&row(i)[..until]).iter().zip(&signs).map(|(c, sign)| c * sign).sum();
            summed = larger(summed, (found - wanted).abs());
        }
        // A sum of N errors is a random walk of √N of them.
        larger(sampled, summed / (self.n as f64).sqrt()) / largest.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::values::values;
    use retrograd_reference::ops::{matmul, matmul_nt, matmul_tn};

    #[test]
    fn right_products_pass_and_one_wrong_element_does_not() {
        let (m, n, k) = (37, 53, 41);
        let (a, b) = (values(m * k, 0), values(n * k, 31));
        for form in [Form::NN, Form::NT, Form::TN] {
            let c = match form {
                Form::NN => matmul(&wide(&a), &wide(&b), m, n, k),
                Form::NT => matmul_nt(&wide(&a), &wide(&b), m, n, k),
                Form::TN => matmul_tn(&wide(&a), &wide(&b), m, n, k),
            };
            let mut c: Vec<f32> = c.iter().map(|&v| v as f32).collect();
            let a_stride = if form == Form::TN { m } else { k };
            let b_stride = if form == Form::NT { k } else { n };
            for lower in [false, true] {
                let product =
                    HostProduct { form, a: (&a, a_stride), b: (&b, b_stride), m, n, k, lower, alpha: 1.0 };
                assert!(product.error(&c, n) <= rounding(k), "{form:?}: {}", product.error(&c, n));
                let at = 17 * n + 11;
                let right = std::mem::replace(&mut c[at], 0.5);
                assert!(product.error(&c, n) > 10.0 * rounding(k), "{form:?}: {}", product.error(&c, n));
                c[at] = f32::NAN;
                assert_eq!(product.error(&c, n), f64::INFINITY);
                c[at] = right;
            }
        }
    }
}
