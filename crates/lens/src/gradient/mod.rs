//! A weight gradient as the two thin matrices it is the product of.
//!
//! For a linear layer `y = x·W`, `∂L/∂W = xᵀδ = Σ_t x_tᵀ δ_t` with δ = ∂L/∂y (Backward Lens, Katz et al.,
//! EMNLP 2024): the gradient's rank is at most the number of positions that a backward signal reaches.

mod report;
mod spectrum;

pub use report::{
    DeltaSimilarity, GradientReport, MatrixGradient, RANK_TOLERANCE, gradient_report, gradient_report_sites,
};
pub use spectrum::GradientSvd;

use retrograd_formats::{HostTensor, LinearLayer, RequestError, TraceRead};

/// x and δ of one linear layer; the gradient of its weight is `xᵀδ`.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientFactors {
    /// The layer.
    pub layer: LinearLayer,
    /// Its input, one row a position: `[T, in]`.
    pub x: HostTensor,
    /// The backward signal at its output, one row a position: `[T, out]`.
    pub delta: HostTensor,
}

/// The gradient factors of a linear layer.
///
/// # Errors
/// When the model has no such layer, or one of the two sites was not captured.
pub fn gradient(trace: &dyn TraceRead, layer: LinearLayer) -> Result<GradientFactors, RequestError> {
    let (input, delta) = layer.factors();
    let layers = trace.meta().config.n_layer;
    if input.layer().is_some_and(|block| block.0 >= layers) {
        return Err(RequestError::invalid(
            layer.to_string(),
            format!("the model has layers 0 to {}", layers - 1),
        ));
    }
    match <[HostTensor; 2]>::try_from(trace.read_all(&[input, delta])?) {
        Ok([x, delta]) => Ok(GradientFactors { layer, x, delta }),
        Err(_) => Err(RequestError::invalid(layer.to_string(), "was not returned by the trace")),
    }
}

impl GradientFactors {
    /// T, in, out.
    fn extents(&self) -> (usize, usize, usize) {
        let extent = |tensor: &HostTensor, axis: usize| tensor.shape.get(axis).copied().unwrap_or(0);
        (extent(&self.x, 0), extent(&self.x, 1), extent(&self.delta, 1))
    }

    /// The gradient itself, `xᵀδ` `[in, out]`, accumulated in f64. (For the unembedding `[D, V]`: the
    /// transpose of `wte`'s part.)
    pub fn to_dense(&self) -> HostTensor {
        let (_, inputs, outputs) = self.extents();
        let mut dense = vec![0.0f32; inputs * outputs];
        let rows: Vec<(&[f32], &[f32])> = self.rows().collect();
        let mut sums = vec![0.0f64; outputs];
        for (i, out) in dense.chunks_exact_mut(outputs.max(1)).enumerate() {
            sums.fill(0.0);
            for (x, delta) in &rows {
                let x = f64::from(x[i]);
                for (sum, &d) in sums.iter_mut().zip(*delta) {
                    *sum += x * f64::from(d);
                }
            }
            for (value, sum) in out.iter_mut().zip(&sums) {
                *value = *sum as f32;
            }
        }
        HostTensor::f32([inputs, outputs], dense)
    }

    /// ‖xᵀδ‖, Frobenius, without forming it: ‖xᵀδ‖² = Σ_{s,t} (x_s·x_t)(δ_s·δ_t).
    pub fn norm(&self) -> f64 {
        // Rounding can take a sum that cancels to just below zero.
        self.product(self).max(0.0).sqrt()
    }

    /// ⟨xᵀδ, x′ᵀδ′⟩ = Σ_{s,t} (x_s·x′_t)(δ_s·δ′_t), without forming either: how far a step along one gradient is a
    /// step along the other.
    ///
    /// # Errors
    /// When the other gradient is that of a matrix of another shape.
    pub fn inner(&self, other: &GradientFactors) -> Result<f64, RequestError> {
        let ((_, inputs, outputs), (_, their_inputs, their_outputs)) = (self.extents(), other.extents());
        if (inputs, outputs) != (their_inputs, their_outputs) {
            return Err(RequestError::invalid(
                format!("{} and {}", self.layer, other.layer),
                format!(
                    "have gradients of shape [{inputs}, {outputs}] and [{their_inputs}, {their_outputs}]: \
                     no inner product"
                ),
            ));
        }
        Ok(self.product(other))
    }

    /// [`inner`](Self::inner) of gradients of one shape, divided by both norms; 0 where one of them is 0.
    ///
    /// # Errors
    /// As [`inner`](Self::inner).
    pub fn cosine(&self, other: &GradientFactors) -> Result<f64, RequestError> {
        let (inner, norms) = (self.inner(other)?, self.norm() * other.norm());
        Ok(if norms > 0.0 { inner / norms } else { 0.0 })
    }

    /// ‖x_t‖·‖δ_t‖ of every position `[T]`: the norm of its own part of the gradient, x_tᵀδ_t.
    pub fn contributions(&self) -> Vec<f64> {
        let (_, inputs, outputs) = self.extents();
        let x = self.x.as_f32().chunks_exact(inputs.max(1));
        let delta = self.delta.as_f32().chunks_exact(outputs.max(1));
        x.zip(delta).map(|(x, delta)| (dot(x, x) * dot(delta, delta)).sqrt()).collect()
    }

    fn product(&self, other: &GradientFactors) -> f64 {
        let theirs: Vec<(&[f32], &[f32])> = other.rows().collect();
        let of_row = |(x, delta): (&[f32], &[f32])| -> f64 {
            theirs.iter().map(|(their_x, their_delta)| dot(x, their_x) * dot(delta, their_delta)).sum()
        };
        self.rows().map(of_row).sum()
    }

    /// The gradient's rank at most: the positions at which neither factor is zero, and no more than the
    /// matrix has rows or columns.
    pub fn rank_bound(&self) -> usize {
        let (_, inputs, outputs) = self.extents();
        self.rows().count().min(inputs).min(outputs)
    }

    /// The rows (x_t, δ_t) that contribute.
    fn rows(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        let (_, inputs, outputs) = self.extents();
        let nonzero = |row: &[f32]| row.iter().any(|&value| value != 0.0);
        let x = self.x.as_f32().chunks_exact(inputs.max(1));
        let delta = self.delta.as_f32().chunks_exact(outputs.max(1));
        x.zip(delta).filter(move |(x, delta)| nonzero(x) && nonzero(delta))
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrograd_formats::{Capture, Layer, LinearKind, Objective, TokenId, TraceRequest};
    use retrograd_reference::ReferenceModel;
    use std::path::Path;

    fn trace(objective: Objective, capture: Capture) -> retrograd_reference::ReferenceTrace {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/three_layers");
        let ids = [3, 1, 4, 1, 5].map(TokenId).to_vec();
        let request = TraceRequest::new(ids, objective).capture(capture);
        ReferenceModel::load(&dir).unwrap().trace(&request).unwrap()
    }

    #[test]
    fn the_norm_from_gram_matrices_is_the_norm_of_the_dense_gradient() {
        let trace = trace(Objective::NextToken, Capture::all());
        for kind in LinearKind::ALL {
            let factors = gradient(&trace, LinearLayer::Block(Layer(1), kind)).unwrap();
            let dense = factors.to_dense();
            assert_eq!(dense.shape, [factors.x.shape[1], factors.delta.shape[1]]);
            assert!(factors.norm() > 0.0);
            assert!((factors.norm() - dense.norm()).abs() < 1e-6 * dense.norm());
            assert!(factors.rank_bound() <= 5);
        }
        let head = gradient(&trace, LinearLayer::LmHead).unwrap();
        assert_eq!(head.rank_bound(), 4);
        assert!((head.norm() - head.to_dense().norm()).abs() < 1e-6 * head.norm());
    }

    #[test]
    fn a_loss_on_the_last_position_gives_the_last_mlp_rank_one() {
        let trace = trace(Objective::Target(TokenId(2)), Capture::all());
        let layer = trace.meta().config.n_layer - 1;
        for kind in [LinearKind::Fc, LinearKind::MlpProj, LinearKind::AttnProj] {
            assert_eq!(gradient(&trace, LinearLayer::Block(Layer(layer), kind)).unwrap().rank_bound(), 1);
        }
    }

    #[test]
    fn inner_products_are_those_of_the_dense_gradients() {
        let trace = trace(Objective::NextToken, Capture::all());
        let of = |layer, kind| gradient(&trace, LinearLayer::Block(Layer(layer), kind)).unwrap();
        let (a, b) = (of(0, LinearKind::MlpProj), of(2, LinearKind::MlpProj));
        let dense: f64 = a
            .to_dense()
            .as_f32()
            .iter()
            .zip(b.to_dense().as_f32())
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum();
        assert!((a.inner(&b).unwrap() - dense).abs() < 1e-6 * a.norm() * b.norm());
        assert!((a.cosine(&a).unwrap() - 1.0).abs() < 1e-12);
        assert!(a.cosine(&b).unwrap().abs() < 1.0);
        let error = a.inner(&of(0, LinearKind::Fc)).unwrap_err().to_string();
        assert!(error.contains("[80, 20]") && error.contains("[20, 80]"), "{error}");
    }

    #[test]
    fn contributions_are_the_norms_of_the_positions_own_parts() {
        let trace = trace(Objective::Target(TokenId(2)), Capture::all());
        let last = gradient(&trace, LinearLayer::Block(Layer(2), LinearKind::MlpProj)).unwrap();
        let contributions = last.contributions();
        assert_eq!(contributions[..4], [0.0; 4]);
        assert!((contributions[4] - last.norm()).abs() < 1e-12 * last.norm());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let trace = trace(Objective::NextToken, Capture::all().sites("mlp.c_fc.input").unwrap());
        let error = gradient(&trace, LinearLayer::Block(Layer(0), LinearKind::Fc)).unwrap_err();
        assert!(error.to_string().contains("mlp.c_fc.delta"), "{error}");
        let error = gradient(&trace, LinearLayer::Block(Layer(9), LinearKind::Fc)).unwrap_err();
        assert!(error.to_string().contains("layers 0 to"), "{error}");
    }
}
