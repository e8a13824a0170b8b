//! Singular values and vectors of a gradient, exactly, from its factors.
//!
//! ```text
//! xᵀ = Q·R      δᵀ = P·S      ∂W = xᵀδ = Q·(R·Sᵀ)·Pᵀ      R·Sᵀ = U′·Σ·V′ᵀ   (T×T)
//! ∂W = U·Σ·Vᵀ with U = Q·U′, V = P·V′
//! ```

use super::GradientFactors;
use crate::factorization::{Columns, Qr, SmallSvd, dot, svd};

/// `∂W = Σ_i values[i]·left_iᵀ·right_i` of a gradient `[in, out]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientSvd {
    /// Singular values, descending: as many as the gradient's rank can be.
    pub values: Vec<f64>,
    left: Vec<Vec<f64>>,
    right: Vec<Vec<f64>>,
}

impl GradientSvd {
    /// Directions of the layer's input `[in]`, orthonormal, one for each singular value that is not 0.
    pub fn left(&self) -> &[Vec<f64>] {
        &self.left
    }

    /// Directions of its output `[out]`, in the same order; signs of a pair are arbitrary together.
    pub fn right(&self) -> &[Vec<f64>] {
        &self.right
    }
}

impl GradientFactors {
    /// The gradient's singular values, descending: [`rank_bound`](Self::rank_bound) of them, all others are 0.
    ///
    /// From the factors, in f64, in O((in + out)·T² + T³): the matrix itself is never formed.
    ///
    /// ```
    /// use retrograd_formats::{HostTensor, LinearLayer};
    /// use retrograd_lens::GradientFactors;
    /// let x = HostTensor::f32([2, 3], vec![3.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    /// let delta = HostTensor::f32([2, 2], vec![0.0, 2.0, -1.0, 0.0]);
    /// let gradient = GradientFactors { layer: "transformer.h.0.mlp.c_fc".parse()?, x, delta };
    /// assert_eq!(gradient.singular_values(), [6.0, 1.0]);
    /// # Ok::<(), retrograd_formats::RequestError>(())
    /// ```
    pub fn singular_values(&self) -> Vec<f64> {
        let (_, _, SmallSvd { mut values, .. }) = self.factored();
        values.truncate(self.rank_bound());
        values
    }

    /// Singular values with their vectors; see [`singular_values`](Self::singular_values).
    pub fn svd(&self) -> GradientSvd {
        let (q, p, SmallSvd { mut values, left, right }) = self.factored();
        values.truncate(self.rank_bound());
        GradientSvd {
            left: left.iter().map(|u| q.apply(u)).collect(),
            right: right.iter().map(|v| p.apply(v)).collect(),
            values,
        }
    }

    /// How many singular values exceed `relative` times the largest: the rank that is left when everything smaller
    /// counts as rounding. A factor in f32 carries 6e-8 of its size.
    pub fn rank(&self, relative: f64) -> usize {
        let values = self.singular_values();
        let largest = values.first().copied().unwrap_or(0.0);
        values.iter().filter(|&&value| value > relative * largest).count()
    }

    fn factored(&self) -> (Qr, Qr, SmallSvd) {
        let (_, inputs, outputs) = self.extents();
        let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect();
        let (x, delta) = self.rows().map(|(x, delta)| (wide(x), wide(delta))).unzip();
        let q = Qr::new(Columns { rows: inputs, columns: x });
        let p = Qr::new(Columns { rows: outputs, columns: delta });
        // (R·Sᵀ)_ij = row i of R · row j of S
        let (r, s) = (q.r().transposed(), p.r().transposed());
        let core = |s: &Vec<f64>| r.columns.iter().map(|r| dot(r, s)).collect();
        let core = Columns { rows: r.columns.len(), columns: s.columns.iter().map(core).collect() };
        let core = svd(&core);
        (q, p, core)
    }
}

#[cfg(test)]
mod tests {
    use super::super::gradient;
    use super::*;
    use crate::factorization::testing::{orthonormality, random};
    use retrograd_formats::{HostTensor, Layer, LinearKind, LinearLayer, Objective, TokenId, TraceRequest};
    use retrograd_reference::ReferenceModel;
    use std::path::Path;

    fn factors(tokens: usize, inputs: usize, outputs: usize, seed: u64) -> GradientFactors {
        let tensor = |width: usize, seed: u64| {
            let values = random(width, tokens, seed).columns.concat();
            HostTensor::f32([tokens, width], values.iter().map(|&value| value as f32).collect())
        };
        GradientFactors {
            layer: LinearLayer::LmHead,
            x: tensor(inputs, seed),
            delta: tensor(outputs, seed + 1),
        }
    }

    /// Checks that the parts make the dense gradient again and have its norm.
    fn check(factors: &GradientFactors) {
        let (svd, dense) = (factors.svd(), factors.to_dense());
        let outputs = dense.shape[1];
        assert_eq!(svd.values, factors.singular_values());
        assert_eq!(svd.values.len(), factors.rank_bound());
        let norm = svd.values.iter().map(|value| value * value).sum::<f64>().sqrt();
        assert!((norm - factors.norm()).abs() <= 1e-12 * norm);
        assert!(orthonormality(svd.left()) < 1e-12 && orthonormality(svd.right()) < 1e-12);
        for (at, &wanted) in dense.as_f32().iter().enumerate() {
            let (i, j) = (at / outputs, at % outputs);
            let sum: f64 = svd
                .values
                .iter()
                .zip(svd.left().iter().zip(svd.right()))
                .map(|(value, (left, right))| value * left[i] * right[j])
                .sum();
            // The dense gradient is rounded to f32.
            assert!((sum - f64::from(wanted)).abs() <= 1e-7 * norm);
        }
    }

    #[test]
    fn the_parts_make_the_gradient_again() {
        for (tokens, inputs, outputs) in [(1, 1, 1), (1, 9, 4), (5, 20, 33), (12, 7, 30), (40, 9, 6)] {
            check(&factors(tokens, inputs, outputs, tokens as u64));
        }
    }

    #[test]
    fn of_a_real_trace() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/three_layers");
        let ids = [3, 1, 4, 1, 5].map(TokenId).to_vec();
        let request = TraceRequest::new(ids, Objective::Target(TokenId(2)));
        let trace = ReferenceModel::load(&dir).unwrap().trace(&request).unwrap();
        for (layer, kind, rank) in
            [(0, LinearKind::Fc, 5), (1, LinearKind::MlpProj, 5), (2, LinearKind::MlpProj, 1)]
        {
            let factors = gradient(&trace, LinearLayer::Block(Layer(layer), kind)).unwrap();
            check(&factors);
            assert_eq!(factors.rank(1e-7), rank);
        }
    }

    #[test]
    fn repeated_and_missing_positions_lower_the_rank() {
        let mut repeated = factors(6, 11, 13, 5);
        let values = repeated.x.as_f32().to_vec();
        let mut x = values.clone();
        x[11..22].copy_from_slice(&values[..11]);
        x[22..33].fill(0.0);
        repeated.x = HostTensor::f32([6, 11], x);
        assert_eq!(repeated.rank_bound(), 5);
        assert_eq!(repeated.rank(1e-12), 4);
        check(&repeated);

        let nothing = GradientFactors {
            layer: LinearLayer::LmHead,
            x: HostTensor::f32([2, 3], vec![1.0; 6]),
            delta: HostTensor::f32([2, 2], vec![0.0; 4]),
        };
        assert!(nothing.singular_values().is_empty() && nothing.svd().left().is_empty());
        assert_eq!(nothing.rank(1e-7), 0);
    }
}
