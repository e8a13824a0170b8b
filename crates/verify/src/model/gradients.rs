//! Weight gradients from what a trace holds: ∂W = xᵀδ, ∂b = Σ δ, the lookups' rows.

use crate::random::wide;
use retrograd_formats::{BlockSite, Config, Layer, LinearLayer, RequestError, Site, TraceRead, Weights};
use retrograd_reference::{ReferenceModel, ops};
use std::str::FromStr;

/// The parameters of a model in the order of its forward pass.
pub(super) fn parameters(model: &ReferenceModel) -> Vec<String> {
    Weights::parameter_names(model.config(), model.parameters().contains_key("lm_head.weight"))
}

/// The gradient of a parameter, of its shape, from the tensors of a trace.
pub(crate) fn gradient(trace: &dyn TraceRead, parameter: &str) -> Result<Vec<f64>, RequestError> {
    let meta = trace.meta();
    let (config, t) = (&meta.config, meta.ids.len());
    let Config { vocab_size: v, n_positions, n_embd: d, .. } = *config;
    let read = |site| -> Result<Vec<f64>, RequestError> { Ok(wide(trace.read(site)?.as_f32())) };
    let head = || -> Result<Vec<f64>, RequestError> {
        let p = meta.objective.count;
        Ok(ops::matmul_tn(&read(Site::LmHeadDelta)?, &read(Site::LmHeadInput)?, v, d, p)) // (V, D)
    };
    let lookup = || -> Result<(Vec<f64>, Vec<f64>), RequestError> {
        let tokens: Vec<u32> = meta.ids.iter().map(|id| id.0).collect();
        let delta = read(Site::Block(Layer(0), BlockSite::ResidPreDelta))?;
        Ok(ops::embedding_backward(&tokens, &delta, v, n_positions, d))
    };
    match parameter {
        "lm_head.weight" => return head(),
        "transformer.wpe.weight" => return Ok(lookup()?.1),
        "transformer.wte.weight" if config.tie_word_embeddings => {
            return Ok(ops::add(&lookup()?.0, &head()?));
        }
        "transformer.wte.weight" => return Ok(lookup()?.0),
        _ => {}
    }
    // A norm's gradients are tensors of a trace.
    if let Ok(site) = Site::from_str(&format!("{parameter}.grad")) {
        return read(site);
    }
    let (path, which) = parameter.rsplit_once('.').unwrap_or((parameter, ""));
    let LinearLayer::Block(layer, kind) = path.parse::<LinearLayer>()? else {
        return Err(RequestError::invalid(parameter, "is not a parameter of a GPT-2"));
    };
    let delta = read(Site::Block(layer, kind.delta()))?; // (T, out)
    let columns = delta.len() / t;
    if which == "bias" {
        return Ok(ops::column_sum(&delta, t, columns));
    }
    let x = read(Site::Block(layer, kind.input()))?; // (T, in)
    Ok(ops::matmul_tn(&x, &delta, x.len() / t, columns, t)) // (in, out)
}
