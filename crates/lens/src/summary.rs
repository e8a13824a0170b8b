//! A trace in one document: what was predicted, what the loss was, where the backward pass went.

use crate::probability::Distribution;
use crate::{HeadScore, Prediction, TargetPrediction, TokenText, rank_heads, token_texts};
use retrograd_formats::{
    BlockSite, Layer, LinearKind, Objective, RequestError, Site, TokenId, Tokenizer, TraceRead,
};
use serde::Serialize;

/// The document of `retrograd trace --json`. What needs a site that was not captured is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceSummary {
    /// `retrograd-trace-summary/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The text, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The tokens of the pass.
    pub tokens: Vec<TokenText>,
    /// The objective: kind, positions, targets.
    pub objective: serde_json::Value,
    /// The loss.
    pub loss: f32,
    /// The most probable token after the last position that carries loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Prediction>,
    /// The target at that position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetPrediction>,
    /// The token that a logit difference compares the target with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minus: Option<TargetPrediction>,
    /// Predictions at every position that carries loss.
    pub predictions: Vec<PositionPredictions>,
    /// Heads by descending ‖R‖.
    pub heads: Vec<HeadScore>,
    /// Sizes of the backward signal, by layer.
    pub layers: Vec<LayerNorms>,
    /// Adapter name, or `reference`.
    pub adapter: String,
    /// Driver name and version.
    pub driver: String,
}

/// What the model predicts after one position.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PositionPredictions {
    /// The position, from 0.
    pub position: usize,
    /// The token that the objective wants there, if it is a cross-entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetPrediction>,
    /// The most probable tokens, the most probable first.
    pub top: Vec<Prediction>,
}

/// The backward signal in one layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerNorms {
    /// The block.
    pub layer: usize,
    /// Frobenius norms of δ over all positions.
    pub delta_norms: DeltaNorms,
}

/// ‖δ‖ at the output of each linear layer and on the residual stream; `None` where it was not captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeltaNorms {
    /// `[∂q ∂k ∂v]`.
    #[serde(rename = "attn.c_attn", skip_serializing_if = "Option::is_none")]
    pub c_attn: Option<f64>,
    /// δ′, behind attention.
    #[serde(rename = "attn.c_proj", skip_serializing_if = "Option::is_none")]
    pub attn_proj: Option<f64>,
    /// ∂f, before the activation.
    #[serde(rename = "mlp.c_fc", skip_serializing_if = "Option::is_none")]
    pub c_fc: Option<f64>,
    /// δ, behind the MLP.
    #[serde(rename = "mlp.c_proj", skip_serializing_if = "Option::is_none")]
    pub mlp_proj: Option<f64>,
    /// As it leaves the block backwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resid_pre: Option<f64>,
    /// Between attention and MLP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resid_mid: Option<f64>,
    /// As it enters the block backwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resid_post: Option<f64>,
}

/// What a [`TraceSummary`] is made of: the sites to capture when nothing else is wanted.
pub fn summary_sites(n_layer: usize) -> Vec<Site> {
    let blocks = (0..n_layer).flat_map(|layer| {
        let attention = [BlockSite::Pattern, BlockSite::Reversed];
        attention.into_iter().chain(DELTAS).map(move |site| Site::Block(Layer(layer), site))
    });
    [Site::Logits].into_iter().chain(blocks).collect()
}

/// The backward signals of a block, in the order of [`DeltaNorms`].
const DELTAS: [BlockSite; 7] = [
    BlockSite::CAttnDelta,
    BlockSite::AttnProjDelta,
    BlockSite::FcDelta,
    BlockSite::MlpProjDelta,
    BlockSite::ResidPreDelta,
    BlockSite::ResidMidDelta,
    BlockSite::ResidPostDelta,
];

/// Summarises a trace with the `top` most probable tokens at every position that carries loss.
///
/// # Errors
/// When the trace cannot be read; not when it lacks a site.
pub fn summarize(
    trace: &dyn TraceRead,
    tokenizer: Option<&Tokenizer>,
    top: usize,
) -> Result<TraceSummary, RequestError> {
    let meta = trace.meta();
    let sites = trace.sites();
    let mut summary = TraceSummary {
        schema: "retrograd-trace-summary/1",
        model: meta.model.clone(),
        prompt: meta.prompt.clone(),
        tokens: token_texts(&meta.ids, tokenizer),
        objective: meta.objective.to_json(),
        loss: trace.loss()?,
        answer: None,
        target: None,
        minus: None,
        predictions: Vec::new(),
        heads: Vec::new(),
        layers: Vec::new(),
        adapter: meta.adapter.clone(),
        driver: meta.driver.clone(),
    };
    if sites.contains(&Site::Logits) {
        predict(&mut summary, trace, tokenizer, top)?;
    }
    if sites.iter().any(|site| matches!(site, Site::Block(_, BlockSite::Reversed))) {
        summary.heads = rank_heads(trace)?;
    }
    for layer in 0..meta.config.n_layer {
        summary.layers.extend(layer_norms(trace, &sites, layer)?);
    }
    Ok(summary)
}

/// Fills in what follows from the logits.
fn predict(
    summary: &mut TraceSummary,
    trace: &dyn TraceRead,
    tokenizer: Option<&Tokenizer>,
    top: usize,
) -> Result<(), RequestError> {
    let objective = &trace.meta().objective;
    let logits = trace.read(Site::Logits)?; // [P, V]
    let rows = logits.as_f32().chunks_exact(trace.meta().config.vocab_size);
    let last = rows.len().saturating_sub(1);
    for (at, row) in rows.enumerate() {
        let row = Distribution::new(row);
        let about = |id: &TokenId| row.target(*id, tokenizer);
        let position = PositionPredictions {
            position: objective.first_position + at,
            target: objective.targets.get(at).map(about),
            top: row.top(top, tokenizer),
        };
        if at == last {
            summary.answer = row.top(1, tokenizer).pop();
            summary.target = position.target.clone();
            if let Objective::LogitDifference { token, minus } = &objective.objective {
                summary.target = Some(about(token));
                summary.minus = Some(about(minus));
            }
        }
        summary.predictions.push(position);
    }
    Ok(())
}

/// The norms of one layer; `None` when nothing of it was captured. One round trip.
fn layer_norms(
    trace: &dyn TraceRead,
    sites: &[Site],
    layer: usize,
) -> Result<Option<LayerNorms>, RequestError> {
    let captured: Vec<Site> =
        DELTAS.iter().map(|site| Site::Block(Layer(layer), *site)).filter(|s| sites.contains(s)).collect();
    if captured.is_empty() {
        return Ok(None);
    }
    let norms: Vec<f64> = trace.read_all(&captured)?.iter().map(|tensor| tensor.norm()).collect();
    let norm = |site: BlockSite| {
        let at = captured.iter().position(|have| *have == Site::Block(Layer(layer), site))?;
        norms.get(at).copied()
    };
    let delta_norms = DeltaNorms {
        c_attn: norm(LinearKind::CAttn.delta()),
        attn_proj: norm(LinearKind::AttnProj.delta()),
        c_fc: norm(LinearKind::Fc.delta()),
        mlp_proj: norm(LinearKind::MlpProj.delta()),
        resid_pre: norm(BlockSite::ResidPreDelta),
        resid_mid: norm(BlockSite::ResidMidDelta),
        resid_post: norm(BlockSite::ResidPostDelta),
    };
    Ok(Some(LayerNorms { layer, delta_norms }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrograd_formats::{Capture, TraceRequest};
    use retrograd_reference::ReferenceModel;
    use std::path::Path;

    fn summary(objective: Objective, capture: Capture) -> TraceSummary {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/three_layers");
        let ids = [3, 1, 4, 1, 5].map(TokenId).to_vec();
        let request = TraceRequest::new(ids, objective).capture(capture);
        let trace = ReferenceModel::load(&dir).unwrap().trace(&request).unwrap();
        summarize(&trace, None, 3).unwrap()
    }

    #[test]
    fn the_loss_follows_from_the_targets_probabilities() {
        let all = summary(Objective::NextToken, Capture::all());
        assert_eq!(all.predictions.len(), 4);
        let nll: f64 = all.predictions.iter().map(|p| -p.target.as_ref().unwrap().probability.ln()).sum();
        assert!((nll / 4.0 - f64::from(all.loss)).abs() < 1e-5);
        assert_eq!(all.predictions[0].target.as_ref().unwrap().token.id, 1);
        assert_eq!(all.answer.as_ref(), all.predictions[3].top.first());
        assert!(all.predictions.iter().all(|p| p.top.len() == 3));
        assert_eq!((all.heads.len(), all.layers.len()), (15, 3));
        assert!(all.layers.iter().all(|layer| layer.delta_norms.resid_pre.is_some_and(|n| n > 0.0)));
    }

    #[test]
    fn a_logit_difference_reports_both_tokens() {
        let both = summary(
            Objective::LogitDifference { token: TokenId(7), minus: TokenId(9) },
            Capture::only(summary_sites(3)),
        );
        assert_eq!((both.target.unwrap().token.id, both.minus.unwrap().token.id), (7, 9));
        assert!(both.predictions[0].target.is_none());
        assert_eq!((both.heads.len(), both.layers.len()), (15, 3));
    }

    #[test]
    fn what_was_not_captured_is_left_out_of_the_document() {
        let capture = Capture::all().layers("2").unwrap().sites("mlp.c_proj.delta").unwrap();
        let little = summary(Objective::Target(TokenId(7)), capture);
        assert!(little.answer.is_none() && little.heads.is_empty());
        let json = serde_json::to_value(&little).unwrap();
        assert_eq!(json["schema"], "retrograd-trace-summary/1");
        let layers = json["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1);
        assert_eq!(layers[0]["delta_norms"].as_object().unwrap().keys().collect::<Vec<_>>(), ["mlp.c_proj"]);
        assert!(json.get("answer").is_none());
    }
}
