//! What the page may ask for, checked before anything is computed.

use super::error::Refusal;
use crate::document::Views;
use axum::http::StatusCode;
use retrograd::{Config, Head, Interventions, PatchMap, RequestError, TokenId, Tokenizer};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The body of `POST /api/run`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRequest {
    prompt: Option<String>,
    ids: Option<Vec<u32>>,
    target: Option<String>,
    target_id: Option<u32>,
    position: Option<usize>,
    #[serde(default)]
    ablate: Vec<String>,
    patch: Option<PatchRequest>,
    edit: Option<EditRequest>,
    views: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchRequest {
    map: MapName,
    alpha: f32,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MapName {
    Reversed,
    Forward,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EditRequest {
    layer: usize,
    eta: f32,
}

/// A request that fits the model.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) ids: Vec<TokenId>,
    pub(crate) prompt: Option<String>,
    /// `None` takes what the model answers.
    pub(crate) target: Option<TokenId>,
    pub(crate) position: usize,
    pub(crate) ablate: BTreeSet<Head>,
    /// Which maps of the unchanged pass, times what.
    pub(crate) patch: Option<(PatchMap, f32)>,
    /// Layer and η of a forward pass shift.
    pub(crate) edit: Option<(usize, f32)>,
    pub(crate) views: Views,
}

impl RunRequest {
    /// Reads a body.
    pub(crate) fn parse(body: &[u8]) -> Result<RunRequest, Refusal> {
        serde_json::from_slice(body).map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, "body", format!("is not a request in JSON: {error}"))
        })
    }

    /// Checks it against the model.
    pub(crate) fn plan(
        self,
        config: &Config,
        tokenizer: Option<&Tokenizer>,
        max_tokens: usize,
    ) -> Result<Plan, Refusal> {
        let invalid = |what: &str, reason: String| Refusal::from(RequestError::invalid(what, reason));
        let need = |what: &str, instead: &str| {
            tokenizer.ok_or_else(|| invalid(what, format!("the model has no tokenizer: give {instead}")))
        };
        let ids = match (&self.prompt, &self.ids) {
            (Some(_), Some(_)) => {
                return Err(invalid("prompt", "is given twice, as a text and as ids".into()));
            }
            (Some(prompt), None) => need("prompt", "ids")?.encode(prompt)?,
            (None, Some(ids)) => ids.iter().copied().map(TokenId).collect(),
            (None, None) => return Err(invalid("prompt", "is missing: give prompt or ids".into())),
        };
        if ids.is_empty() {
            return Err(invalid("prompt", "is empty: give at least one token of text".into()));
        }
        let most = max_tokens.min(config.n_positions);
        if ids.len() > most {
            let reason = format!("has {} tokens; this server takes {most}", ids.len());
            return Err(invalid("prompt", reason));
        }
        let in_vocabulary = |what: &str, id: TokenId| match (id.0 as usize) < config.vocab_size {
            true => Ok(id),
            false => {
                let last = config.vocab_size - 1;
                Err(invalid(what, format!("id {id} is not a token of the model, which has 0 to {last}")))
            }
        };
        for id in &ids {
            in_vocabulary("ids", *id)?;
        }
        let target = match (&self.target, self.target_id) {
            (Some(_), Some(_)) => {
                return Err(invalid("target", "is given twice, as a text and as an id".into()));
            }
            (Some(text), None) => Some(need("target", "target_id")?.single_token(text)?),
            (None, Some(id)) => Some(in_vocabulary("target_id", TokenId(id))?),
            (None, None) => None,
        };
        let last = ids.len() - 1;
        let position = self.position.unwrap_or(last);
        if position > last {
            let reason = format!("{position} is not a position of the prompt, which has 0 to {last}");
            return Err(invalid("position", reason));
        }
        let ablate: BTreeSet<Head> =
            self.ablate.iter().map(|head| head.parse()).collect::<Result<_, RequestError>>()?;
        Interventions { ablate: ablate.clone(), patch: None }.check(config, ids.len())?;
        if let Some(patch) = self.patch.filter(|patch| !patch.alpha.is_finite()) {
            return Err(invalid("alpha", format!("{} is not a finite number", patch.alpha)));
        }
        if let Some(edit) = self.edit {
            if edit.layer >= config.n_layer {
                let last = config.n_layer - 1;
                return Err(invalid(
                    "layer",
                    format!("{} is not a layer of the model, which has 0 to {last}", edit.layer),
                ));
            }
            if !edit.eta.is_finite() {
                return Err(invalid("eta", format!("{} is not a finite number", edit.eta)));
            }
        }
        let views = match &self.views {
            None => Views::ALL,
            Some(names) => Views::named(names)
                .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, "views", error.reason))?,
        };
        let map = |name| match name {
            MapName::Reversed => PatchMap::Reversed,
            MapName::Forward => PatchMap::Forward,
        };
        Ok(Plan {
            ids,
            prompt: self.prompt,
            target,
            position,
            ablate,
            patch: self.patch.map(|patch| (map(patch.map), patch.alpha)),
            edit: self.edit.map(|edit| (edit.layer, edit.eta)),
            views,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(body: &str) -> Result<Plan, String> {
        let config = Config {
            vocab_size: 10,
            n_positions: 4,
            n_embd: 4,
            n_layer: 2,
            n_head: 2,
            n_inner: 16,
            layer_norm_epsilon: 1e-5,
            bos_token_id: None,
            eos_token_id: None,
            tie_word_embeddings: true,
        };
        let request = RunRequest::parse(body.as_bytes()).and_then(|request| request.plan(&config, None, 3));
        request.map_err(|refusal| {
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST);
            format!("{}: {}", refusal.what, refusal.message)
        })
    }

    #[test]
    fn what_fits_the_model() {
        let plan = plan(
            r#"{"ids": [1, 2], "target_id": 3, "ablate": ["1.0"], "patch": {"map": "reversed", "alpha": -3}}"#,
        );
        let plan = plan.unwrap();
        assert_eq!((plan.ids.len(), plan.position, plan.target), (2, 1, Some(TokenId(3))));
        assert_eq!(plan.patch, Some((PatchMap::Reversed, -3.0)));
    }

    #[test]
    fn what_does_not() {
        for (body, part) in [
            ("", "not a request in JSON"),
            ("[1", "not a request in JSON"),
            ("{}", "prompt: is missing"),
            (r#"{"prompt": "a"}"#, "no tokenizer: give ids"),
            (r#"{"prompt": "a", "ids": [1]}"#, "given twice"),
            (r#"{"ids": []}"#, "is empty"),
            (r#"{"ids": [1, 1, 1, 1]}"#, "4 tokens; this server takes 3"),
            (r#"{"ids": [10]}"#, "id 10 is not a token of the model, which has 0 to 9"),
            (r#"{"ids": [-1]}"#, "not a request in JSON"),
            (r#"{"ids": [1], "target_id": 10}"#, "target_id: id 10"),
            (r#"{"ids": [1], "target": "a", "target_id": 1}"#, "given twice"),
            (
                r#"{"ids": [1], "position": 1}"#,
                "position: 1 is not a position of the prompt, which has 0 to 0",
            ),
            (r#"{"ids": [1], "ablate": ["2.0"]}"#, "layers 0 to 1"),
            (r#"{"ids": [1], "ablate": ["x"]}"#, "'x' is not LAYER.HEAD"),
            (r#"{"ids": [1], "patch": {"map": "both", "alpha": 1}}"#, "not a request in JSON"),
            (r#"{"ids": [1], "patch": {"map": "forward", "alpha": 1e99}}"#, "JSON"),
            (r#"{"ids": [1], "edit": {"layer": 2, "eta": 1}}"#, "layer: 2 is not a layer"),
            (r#"{"ids": [1], "views": ["all"]}"#, "views: 'all' is none of"),
            (r#"{"ids": [1], "path": "/etc/passwd"}"#, "unknown field"),
        ] {
            let error = plan(body).unwrap_err();
            assert!(error.contains(part) || part == "JSON", "{body}: {error}");
        }
    }
}
