//! Python's arguments as a request.

use crate::arrays::f32_values;
use crate::errors::Failure;
use crate::trace::Trace;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use retrograd::formats::{Head, Layer, parse_heads, trace_file};
use retrograd::{
    AttentionPatch, BlockSite, Capture, Config, Gpt2, Interventions, Objective, PatchMap, Site, TokenId,
    TraceRequest,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What `Gpt2.trace` is given.
pub(crate) struct TraceArguments<'a, 'py> {
    pub(crate) prompt: &'a Bound<'py, PyAny>,
    pub(crate) target: Option<&'a Bound<'py, PyAny>>,
    pub(crate) minus: Option<&'a Bound<'py, PyAny>>,
    pub(crate) completion: Option<&'a Bound<'py, PyAny>>,
    pub(crate) next_token: bool,
    pub(crate) layers: Option<&'a Bound<'py, PyAny>>,
    pub(crate) sites: Option<&'a Bound<'py, PyAny>>,
    pub(crate) head_norms: bool,
    pub(crate) ablate: Option<&'a Bound<'py, PyAny>>,
    pub(crate) patch: Option<&'a Bound<'py, PyAny>>,
    pub(crate) alpha: Option<f32>,
    pub(crate) patch_map: &'a str,
    pub(crate) patch_heads: Option<&'a Bound<'py, PyAny>>,
}

impl TraceArguments<'_, '_> {
    /// The request, checked against the model, and the prompt's text where it is one.
    pub(crate) fn request(&self, model: &Gpt2) -> PyResult<(TraceRequest, Option<String>)> {
        let mut ids = tokens(model, self.prompt)?;
        let text = self.prompt.extract::<String>().ok();
        let objective = self.objective(model, &mut ids)?;
        let interventions = Interventions {
            ablate: heads(self.ablate)?.unwrap_or_default(),
            patch: self.patch(model.config(), ids.len())?,
        };
        let request = TraceRequest::new(ids, objective).interventions(interventions).capture(self.capture()?);
        request.resolve(model.config()).map_err(Failure::from)?;
        Ok((request, text))
    }

    fn objective(&self, model: &Gpt2, ids: &mut Vec<TokenId>) -> PyResult<Objective> {
        let given = [self.target.is_some(), self.completion.is_some(), self.next_token];
        if given.iter().filter(|given| **given).count() != 1 {
            let reason = "give exactly one of target=, completion= and next_token=True";
            return Err(Failure::request("objective", reason).into());
        }
        if let Some(target) = self.target {
            let token = token(model, "target", target)?;
            return Ok(match self.minus {
                Some(minus) => {
                    Objective::LogitDifference { token, minus: self::token(model, "minus", minus)? }
                }
                None => Objective::Target(token),
            });
        }
        if self.minus.is_some() {
            return Err(Failure::request("minus", "stands beside a target: give target= too").into());
        }
        match self.completion {
            Some(completion) => {
                let start = ids.len();
                ids.extend(tokens(model, completion)?);
                Ok(Objective::Completion { start })
            }
            None => Ok(Objective::NextToken),
        }
    }

    fn capture(&self) -> PyResult<Capture> {
        let mut capture = Capture::all();
        if let Some(layers) = self.layers {
            capture = capture.layers(&layer_list(layers)?).map_err(Failure::from)?;
        }
        if let Some(sites) = self.sites {
            capture = capture.sites(&joined(sites)?).map_err(Failure::from)?;
        }
        Ok(if self.head_norms { capture.head_norms() } else { capture })
    }

    fn patch(&self, config: &Config, tokens: usize) -> PyResult<Option<AttentionPatch>> {
        let Some(given) = self.patch else {
            return Ok(None);
        };
        let Some(alpha) = self.alpha else {
            let reason = "is missing: the factor of patch=; for reversed maps a negative one lowers the loss";
            return Err(Failure::request("alpha", reason).into());
        };
        let map = match self.patch_map {
            "reversed" => PatchMap::Reversed,
            "forward" => PatchMap::Forward,
            other => {
                let reason = format!("'{other}' is neither 'reversed' nor 'forward'");
                return Err(Failure::request("patch_map", reason).into());
            }
        };
        let mut patch = if let Ok(trace) = given.cast::<Trace>() {
            AttentionPatch { alpha, maps: maps_of_trace(trace.get(), map, tokens)?, heads: None }
        } else if let Ok(maps) = given.cast::<PyDict>() {
            AttentionPatch { alpha, maps: maps_of_arrays(maps, config, tokens)?, heads: None }
        } else if let Ok(path) = given.extract::<PathBuf>() {
            trace_file::load_patch(&path, map, alpha, config, tokens).map_err(Failure::from)?
        } else {
            let reason = "is a Trace, the path of a trace file, or a dict of layers and arrays [H, T, T]";
            return Err(Failure::request("patch", reason).into());
        };
        patch.heads = heads(self.patch_heads)?;
        Ok(Some(patch))
    }
}

fn maps_of_trace(trace: &Trace, map: PatchMap, tokens: usize) -> Result<BTreeMap<usize, Vec<f32>>, Failure> {
    let site = match map {
        PatchMap::Reversed => BlockSite::Reversed,
        PatchMap::Forward => BlockSite::Pattern,
    };
    let held = trace.held()?;
    let theirs = held.meta().ids.len();
    if theirs != tokens {
        let reason = format!("the maps are over {theirs} tokens, but the prompt has {tokens}");
        return Err(Failure::request("patch", reason));
    }
    let sites: Vec<Site> =
        held.sites().into_iter().filter(|held| matches!(held, Site::Block(_, own) if *own == site)).collect();
    if sites.is_empty() {
        return Err(Failure::request("patch", format!("the trace holds no {}", site.suffix())));
    }
    let maps = held.read_all(&sites)?;
    let layer = |site: &Site| site.layer().map_or(0, |layer| layer.0);
    Ok(sites.iter().zip(maps).map(|(site, map)| (layer(site), map.as_f32().to_vec())).collect())
}

/// Layers, or names of tensors, with arrays `[H, T, T]`.
fn maps_of_arrays(
    given: &Bound<'_, PyDict>,
    config: &Config,
    tokens: usize,
) -> PyResult<BTreeMap<usize, Vec<f32>>> {
    let mut maps = BTreeMap::new();
    for (key, array) in given {
        let layer = match key.extract::<usize>() {
            Ok(layer) => layer,
            Err(_) => match key.extract::<String>().ok().and_then(|name| name.parse().ok()) {
                Some(Site::Block(Layer(layer), BlockSite::Reversed | BlockSite::Pattern)) => layer,
                _ => {
                    let reason = format!("{} names neither a layer nor an attention map", key.repr()?);
                    return Err(Failure::request("patch", reason).into());
                }
            },
        };
        let what = format!("patch: the map of layer {layer}");
        let values = f32_values(&what, &array, &[config.n_head, tokens, tokens])?;
        for (row, query) in values.chunks(tokens.max(1)).zip((0..tokens).cycle()) {
            if row[query + 1..].iter().any(|&value| value != 0.0) {
                return Err(Failure::request(
                    &what,
                    "is not zero above the diagonal: not a causal attention map",
                )
                .into());
            }
        }
        maps.insert(layer, values);
    }
    if maps.is_empty() {
        return Err(Failure::request("patch", "has no maps").into());
    }
    Ok(maps)
}

/// A text, or token ids.
pub(crate) fn tokens(model: &Gpt2, given: &Bound<'_, PyAny>) -> PyResult<Vec<TokenId>> {
    if let Ok(text) = given.cast::<PyString>() {
        let text = text.to_cow()?;
        let ids = model.require_tokenizer().and_then(|tokenizer| tokenizer.encode(&text));
        let ids = ids.map_err(Failure::from)?;
        if ids.is_empty() {
            return Err(Failure::request("prompt", "is empty: give at least one token of text").into());
        }
        return Ok(ids);
    }
    let Ok(items) = given.try_iter() else {
        let found = given.get_type().name()?.to_string();
        return Err(
            Failure::request("prompt", format!("is a text or a list of token ids, not {found}")).into()
        );
    };
    items.map(|item| token_id("ids", &item?)).collect()
}

fn token_id(what: &str, given: &Bound<'_, PyAny>) -> PyResult<TokenId> {
    given.extract().map(TokenId).map_err(|_| {
        let shown = given.repr().map(|text| text.to_string()).unwrap_or_default();
        Failure::request(what, format!("{shown} is not a token id (a whole number from 0)")).into()
    })
}

/// The one token that a text is, or an id.
fn token(model: &Gpt2, what: &str, given: &Bound<'_, PyAny>) -> PyResult<TokenId> {
    match given.extract::<String>() {
        Ok(text) => {
            let token = model.require_tokenizer().and_then(|tokenizer| tokenizer.single_token(&text));
            Ok(token.map_err(Failure::from)?)
        }
        Err(_) => token_id(what, given),
    }
}

/// Heads as `"0.1,3.7"` or `[(0, 1), (3, 7)]`.
fn heads(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<BTreeSet<Head>>> {
    let Some(given) = given else {
        return Ok(None);
    };
    if let Ok(text) = given.extract::<String>() {
        return Ok(Some(parse_heads(&text).map_err(Failure::from)?.into_iter().collect()));
    }
    let pairs: Vec<(usize, usize)> = given.extract().map_err(|_| {
        Failure::request("heads", "are given as (layer, head) pairs, [(0, 1), (3, 7)], or as '0.1,3.7'")
    })?;
    Ok(Some(pairs.into_iter().map(|(layer, head)| Head { layer, head }).collect()))
}

/// Layers as `"0,3-5"`, `3` or `[0, 3, 4, 5]`, in the first form.
pub(crate) fn layer_list(given: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(layer) = given.extract::<usize>() {
        return Ok(layer.to_string());
    }
    match given.extract::<Vec<usize>>() {
        Ok(layers) => Ok(layers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")),
        Err(_) => given.extract().map_err(|_| {
            Failure::request("layers", "are given as a number, a list of numbers, or as '0,3-5'").into()
        }),
    }
}

/// The blocks that `layers=` names; all of them without.
pub(crate) fn blocks(given: Option<&Bound<'_, PyAny>>, config: &Config) -> PyResult<Vec<usize>> {
    let mut blocks: Vec<usize> = (0..config.n_layer).collect();
    if let Some(layers) = given {
        let chosen = Capture::all().layers(&layer_list(layers)?).map_err(Failure::from)?;
        chosen.check(config).map_err(Failure::from)?;
        // Any site of a block will do.
        blocks.retain(|block| chosen.keeps(Site::Block(Layer(*block), BlockSite::Pattern)));
    }
    Ok(blocks)
}

/// Texts as one, with commas.
pub(crate) fn joined(given: &Bound<'_, PyAny>) -> PyResult<String> {
    match given.extract::<String>() {
        Ok(text) => Ok(text),
        Err(_) => {
            let texts: Vec<String> = given.extract().map_err(|_| {
                Failure::request("sites", "are given as a text or a list of texts, as 'attn.*,resid_post'")
            })?;
            Ok(texts.join(","))
        }
    }
}
