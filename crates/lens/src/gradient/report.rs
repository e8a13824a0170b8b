//! The paper's statements about weight gradients, measured on a trace: their ranks, where their size comes from, what
//! their readable factor says, how alike the backward signal is from layer to layer (Backward Lens, Katz et al.,
//! EMNLP 2024, sections 4 and 5).

use super::{GradientFactors, dot, gradient};
use crate::{Prediction, TokenText};
use retrograd_formats::{
    HostTensor, Layer, LinearKind, LinearLayer, Project, ProjectionRequest, RequestError, Site, TokenId,
    Tokenizer, TraceRead,
};
use serde::Serialize;

/// Singular values that a report lists.
const LISTED_VALUES: usize = 8;
/// Tokens of a reading.
const LISTED_TOKENS: usize = 3;
/// Singular values below this share of the largest are rounding: factors in f32 carry 6e-8 of their size.
pub const RANK_TOLERANCE: f64 = 1e-7;

/// Every weight gradient of a trace.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GradientReport {
    /// Four of every layer, in the order of the model.
    pub matrices: Vec<MatrixGradient>,
    /// For each linear layer of the block, how alike its δ is in different layers.
    pub similarities: Vec<DeltaSimilarity>,
}

/// One weight gradient.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatrixGradient {
    /// The block.
    pub layer: usize,
    /// `attn.c_attn`, `attn.c_proj`, `mlp.c_fc` or `mlp.c_proj`.
    pub matrix: &'static str,
    /// ‖xᵀδ‖, Frobenius.
    pub norm: f64,
    /// Positions at which neither factor is zero, and no more than the matrix has rows or columns.
    pub rank_bound: usize,
    /// Singular values above [`RANK_TOLERANCE`] of the largest.
    pub rank: usize,
    /// The largest singular values, descending.
    pub singular_values: Vec<f64>,
    /// ‖x_t‖·‖δ_t‖ of every position.
    pub contributions: Vec<f64>,
    /// The position that contributes most.
    pub strongest: usize,
    /// Which factor has the model's width and is read there: `x`, imprinted by a step; or `delta`, which shifts
    /// the output.
    pub read: &'static str,
    /// What that factor reads as at the strongest position: of x the most, of δ the least probable tokens, which
    /// a step down the loss writes.
    pub tokens: Vec<Prediction>,
}

/// Cosines between the δ of one kind of layer in all blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeltaSimilarity {
    /// `mlp.c_proj` and so on.
    pub matrix: &'static str,
    /// The position; the last one with loss.
    pub position: usize,
    /// `[layer][layer]`; 0 where a δ is zero.
    pub cosines: Vec<Vec<f64>>,
}

/// The tensors that [`gradient_report`] needs.
pub fn gradient_report_sites(n_layer: usize) -> Vec<Site> {
    (0..n_layer)
        .flat_map(|layer| LinearKind::ALL.map(|kind| LinearLayer::Block(Layer(layer), kind).factors()))
        .flat_map(|(input, delta)| [input, delta])
        .collect()
}

/// Measures every weight gradient of a trace; `model` reads the factors that can be read.
///
/// # Errors
/// When one of [`gradient_report_sites`] was not captured, or the device fails.
pub fn gradient_report(
    trace: &dyn TraceRead,
    model: &dyn Project,
    tokenizer: Option<&Tokenizer>,
) -> Result<GradientReport, RequestError> {
    let meta = trace.meta();
    let width = meta.config.n_embd;
    let position = meta.objective.first_position + meta.objective.count - 1;
    let (mut matrices, mut vectors) = (Vec::new(), Vec::new());
    let mut deltas: Vec<Vec<Vec<f32>>> = vec![Vec::new(); LinearKind::ALL.len()];
    for layer in 0..meta.config.n_layer {
        for (kind, deltas) in LinearKind::ALL.into_iter().zip(&mut deltas) {
            let factors = gradient(trace, LinearLayer::Block(Layer(layer), kind))?;
            deltas.push(row(&factors.delta, position));
            let matrix = matrix(layer, kind, &factors);
            let read = if matrix.read == "x" { &factors.x } else { &factors.delta };
            vectors.extend(row(read, matrix.strongest));
            matrices.push(matrix);
        }
    }
    let vectors = HostTensor::f32([matrices.len(), width], vectors);
    let readings =
        model.project(&ProjectionRequest::new(vectors).top(LISTED_TOKENS.min(meta.config.vocab_size)))?;
    for (matrix, reading) in matrices.iter_mut().zip(readings) {
        let tokens = if matrix.read == "x" { reading.top } else { reading.bottom };
        let named = |(id, probability): (TokenId, f64)| Prediction {
            token: TokenText::new(id, tokenizer),
            probability,
        };
        matrix.tokens = tokens.into_iter().map(named).collect();
    }
    let similarities = LinearKind::ALL.into_iter().zip(&deltas).map(|(kind, deltas)| DeltaSimilarity {
        matrix: kind.suffix(),
        position,
        cosines: deltas.iter().map(|a| deltas.iter().map(|b| cosine(a, b)).collect()).collect(),
    });
    Ok(GradientReport { matrices, similarities: similarities.collect() })
}

fn matrix(layer: usize, kind: LinearKind, factors: &GradientFactors) -> MatrixGradient {
    let values = factors.singular_values();
    let largest = values.first().copied().unwrap_or(0.0);
    let contributions = factors.contributions();
    let strongest = (0..contributions.len())
        .max_by(|&a, &b| contributions[a].total_cmp(&contributions[b]).then(b.cmp(&a)))
        .unwrap_or(0);
    MatrixGradient {
        layer,
        matrix: kind.suffix(),
        norm: factors.norm(),
        rank_bound: factors.rank_bound(),
        rank: values.iter().filter(|&&value| value > RANK_TOLERANCE * largest).count(),
        singular_values: values.into_iter().take(LISTED_VALUES).collect(),
        contributions,
        strongest,
        read: match kind {
            LinearKind::CAttn | LinearKind::Fc => "x",
            LinearKind::AttnProj | LinearKind::MlpProj => "delta",
        },
        tokens: Vec::new(),
    }
}

fn row(tensor: &HostTensor, position: usize) -> Vec<f32> {
    let width = tensor.shape.get(1).copied().unwrap_or(0).max(1);
    tensor.as_f32().chunks_exact(width).nth(position).unwrap_or_default().to_vec()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrograd_formats::{Capture, Objective, TraceRequest};
    use retrograd_reference::ReferenceModel;
    use std::path::Path;

    #[test]
    fn ranks_are_the_prompts_length_but_in_the_last_mlp() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/three_layers");
        let model = ReferenceModel::load(&dir).unwrap();
        let ids = [3, 1, 4, 1, 5].map(TokenId).to_vec();
        let capture = Capture::only(gradient_report_sites(3));
        let request = TraceRequest::new(ids, Objective::Target(TokenId(2))).capture(capture);
        let report = gradient_report(&model.trace(&request).unwrap(), &model, None).unwrap();
        assert_eq!(report.matrices.len(), 12);
        for gradient in &report.matrices {
            let expected = if gradient.layer == 2 && gradient.matrix != "attn.c_attn" { 1 } else { 5 };
            assert_eq!(gradient.rank, expected, "{} of layer {}", gradient.matrix, gradient.layer);
            assert_eq!(gradient.rank_bound, expected);
            assert_eq!((gradient.contributions.len(), gradient.tokens.len()), (5, 3));
            let most = gradient.contributions.iter().fold(0.0f64, |most, &c| most.max(c));
            assert_eq!(gradient.contributions[gradient.strongest], most);
            let squares: f64 = gradient.singular_values.iter().map(|value| value * value).sum();
            assert!((squares.sqrt() - gradient.norm).abs() < 1e-9 * gradient.norm);
        }
        for similarity in &report.similarities {
            assert_eq!(similarity.position, 4);
            for (a, row) in similarity.cosines.iter().enumerate() {
                assert!((row[a] - 1.0).abs() < 1e-12);
                assert!(row.iter().enumerate().all(|(b, c)| (c - similarity.cosines[b][a]).abs() < 1e-12));
            }
        }
    }
}
