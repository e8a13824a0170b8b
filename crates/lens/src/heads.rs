//! Heads by the size of their Reversed Attention map, and the token pairs behind it.
//!
//! R = ∂L/∂(q·kᵀ) `[H, T, T]` (Katz & Wolf, NAACL 2025): entry (i, j) says how the loss changes when query i
//! scores key j higher. It is the raw gradient: where it is positive, more attention raises the loss.

use crate::{TokenText, token_texts};
use retrograd_formats::{
    BlockSite, Head, HeadNorms, HostTensor, Layer, RequestError, Site, Tokenizer, TraceRead,
};
use serde::Serialize;

/// The sizes of a head's maps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadScore {
    /// The block.
    pub layer: usize,
    /// The head within the block.
    pub head: usize,
    /// ‖A‖, Frobenius; `None` where the attention pattern was not captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern_norm: Option<f64>,
    /// ‖R‖, Frobenius.
    pub reversed_norm: f64,
}

impl HeadScore {
    /// The head that was scored.
    pub fn id(&self) -> Head {
        Head { layer: self.layer, head: self.head }
    }
}

/// An entry of a Reversed Attention map.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Position that attends.
    pub query: usize,
    /// Position that is attended to; at most `query`.
    pub key: usize,
    /// R at (query, key): the loss's derivative by the raw score q·k.
    pub value: f32,
}

/// Every head whose Reversed Attention, or its norm, was captured, by descending ‖R‖; equal ones in the order of the
/// model.
///
/// # Errors
/// When the trace holds neither `attn.reversed` nor the norms of every head's maps.
pub fn rank_heads(trace: &dyn TraceRead) -> Result<Vec<HeadScore>, RequestError> {
    let mut scores = match trace.head_norms()? {
        Some(norms) => scores_of(&norms),
        None => scores_from_maps(trace)?,
    };
    if scores.is_empty() {
        return Err(RequestError::invalid(
            "attn.reversed",
            "is not in this trace: trace again with --sites and --layers that keep it",
        ));
    }
    // Stable: equal norms stay in the order of the model.
    scores.sort_by(|a, b| b.reversed_norm.total_cmp(&a.reversed_norm));
    Ok(scores)
}

fn scores_of(norms: &HeadNorms) -> Vec<HeadScore> {
    let layers = norms.reversed.iter().zip(&norms.pattern).enumerate();
    layers
        .flat_map(|(layer, (reversed, pattern))| {
            reversed.iter().zip(pattern).enumerate().map(move |(head, (&reversed_norm, &pattern))| {
                HeadScore { layer, head, pattern_norm: Some(pattern), reversed_norm }
            })
        })
        .collect()
}

fn scores_from_maps(trace: &dyn TraceRead) -> Result<Vec<HeadScore>, RequestError> {
    let sites = trace.sites();
    let mut scores = Vec::new();
    for layer in 0..trace.meta().config.n_layer {
        let reversed = Site::Block(Layer(layer), BlockSite::Reversed);
        let pattern = Site::Block(Layer(layer), BlockSite::Pattern);
        if !sites.contains(&reversed) {
            continue;
        }
        // Both maps of a layer in one round trip.
        let wanted: Vec<Site> = [reversed, pattern].into_iter().filter(|s| sites.contains(s)).collect();
        let maps = trace.read_all(&wanted)?;
        let norms = |tensor: Option<&HostTensor>| tensor.map(norms_by_head);
        let reversed_norms = norms(maps.first()).unwrap_or_default();
        let pattern_norms = norms(maps.get(1));
        scores.extend(reversed_norms.into_iter().enumerate().map(|(head, reversed_norm)| HeadScore {
            layer,
            head,
            pattern_norm: pattern_norms.as_ref().and_then(|norms| norms.get(head).copied()),
            reversed_norm,
        }));
    }
    Ok(scores)
}

/// The `count` entries of a head's R with the largest |R|, the largest first; exact zeros are left out.
///
/// # Errors
/// When the model has no such head, or its layer's `attn.reversed` was not captured.
pub fn strongest_pairs(trace: &dyn TraceRead, head: Head, count: usize) -> Result<Vec<Pair>, RequestError> {
    let (config, tokens) = (&trace.meta().config, trace.meta().ids.len());
    if head.layer >= config.n_layer || head.head >= config.n_head {
        return Err(RequestError::invalid(
            format!("head {}.{}", head.layer, head.head),
            format!("the model has layers 0 to {} and heads 0 to {}", config.n_layer - 1, config.n_head - 1),
        ));
    }
    let maps = trace.read(Site::Block(Layer(head.layer), BlockSite::Reversed))?;
    let map = maps.as_f32().chunks_exact(tokens * tokens).nth(head.head).unwrap_or_default();
    let mut pairs: Vec<Pair> = map
        .iter()
        .enumerate()
        .filter(|(_, value)| **value != 0.0)
        .map(|(at, &value)| Pair { query: at / tokens, key: at % tokens, value })
        .collect();
    pairs.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
    pairs.truncate(count);
    Ok(pairs)
}

fn norms_by_head(maps: &HostTensor) -> Vec<f64> {
    let heads = maps.shape.first().copied().unwrap_or(0);
    let map = maps.as_f32().len().checked_div(heads).unwrap_or(0).max(1);
    let squared = |x: &f32| f64::from(*x) * f64::from(*x);
    maps.as_f32().chunks_exact(map).map(|map| map.iter().map(squared).sum::<f64>().sqrt()).collect()
}

/// The document of `retrograd attention --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttentionReport {
    /// `retrograd-attention/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The tokens of the pass.
    pub tokens: Vec<TokenText>,
    /// As [`rank_heads`] ranks them.
    pub heads: Vec<HeadScore>,
    /// The loss.
    pub loss: f32,
}

/// Ranks the heads of a trace and says what was traced.
pub fn attention_report(
    trace: &dyn TraceRead,
    tokenizer: Option<&Tokenizer>,
) -> Result<AttentionReport, RequestError> {
    let meta = trace.meta();
    Ok(AttentionReport {
        schema: "retrograd-attention/1",
        model: meta.model.clone(),
        tokens: token_texts(&meta.ids, tokenizer),
        heads: rank_heads(trace)?,
        loss: trace.loss()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrograd_formats::{Capture, Objective, TokenId, TraceRequest};
    use retrograd_reference::ReferenceModel;
    use std::path::Path;

    fn model() -> ReferenceModel {
        ReferenceModel::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/three_layers"))
            .unwrap()
    }

    fn request() -> TraceRequest {
        TraceRequest::new([3, 1, 4, 1, 5].map(TokenId).to_vec(), Objective::NextToken)
    }

    #[test]
    fn heads_are_ranked_by_the_norm_of_r() {
        let (model, request) = (model(), request());
        let trace = model.trace(&request).unwrap();
        let heads = rank_heads(&trace).unwrap();
        let config = model.config();
        assert_eq!(heads.len(), config.n_layer * config.n_head);
        assert!(heads.is_sorted_by(|a, b| a.reversed_norm >= b.reversed_norm));
        for score in &heads {
            let site = Site::Block(Layer(score.layer), BlockSite::Reversed);
            let expected: f64 = trace.get(site).unwrap()[score.head * 25..][..25].iter().map(|x| x * x).sum();
            assert!((score.reversed_norm - expected.sqrt()).abs() <= 1e-6 * expected.sqrt());
        }

        let pairs = strongest_pairs(&trace, heads[0].id(), 4).unwrap();
        assert_eq!(pairs.len(), 4);
        assert!(pairs.is_sorted_by(|a, b| a.value.abs() >= b.value.abs()));
        assert!(pairs.iter().all(|pair| pair.key <= pair.query));
        assert!(strongest_pairs(&trace, Head { layer: 0, head: 99 }, 1).is_err());
    }

    #[test]
    fn norms_alone_rank_the_heads_as_their_maps_do() {
        let model = model();
        let full = rank_heads(&model.trace(&request()).unwrap()).unwrap();
        let norms = model.trace(&request().capture(Capture::none().head_norms())).unwrap();
        let ranked = rank_heads(&norms).unwrap();
        assert_eq!(ranked.len(), full.len());
        for (alone, mapped) in ranked.iter().zip(&full) {
            assert_eq!(alone.id(), mapped.id());
            assert!((alone.reversed_norm / mapped.reversed_norm - 1.0).abs() < 1e-6);
        }
        assert!(strongest_pairs(&norms, ranked[0].id(), 1).is_err());
    }

    #[test]
    fn a_partial_trace_gives_what_it_has() {
        let model = model();
        let capture = Capture::all().layers("1").unwrap().sites("attn.reversed").unwrap();
        let trace = model.trace(&request().capture(capture)).unwrap();
        let heads = rank_heads(&trace).unwrap();
        assert_eq!(heads.len(), model.config().n_head);
        assert!(heads.iter().all(|score| score.layer == 1 && score.pattern_norm.is_none()));

        let nothing = model.trace(&request().capture(Capture::none())).unwrap();
        assert!(rank_heads(&nothing).unwrap_err().to_string().contains("attn.reversed"));
        assert!(strongest_pairs(&nothing, Head { layer: 0, head: 0 }, 1).is_err());
    }
}
