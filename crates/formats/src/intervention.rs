//! Changes made to a forward pass: heads silenced, attention maps added.

use crate::{Config, Head, RequestError};
use std::collections::{BTreeMap, BTreeSet};

/// Which maps of a trace file an attention patch takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchMap {
    /// `attn.reversed`
    Reversed,
    /// `attn.pattern`
    Forward,
}

impl PatchMap {
    /// As flags and documents have it: `reversed` or `forward`.
    pub fn name(self) -> &'static str {
        match self {
            PatchMap::Reversed => "reversed",
            PatchMap::Forward => "forward",
        }
    }
}

/// Attention patching: `A_h ← A_h + α·M_h` after the softmax, not renormalised.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionPatch {
    /// α.
    pub alpha: f32,
    /// Layer → maps `[H, T, T]`, row-major, zero above the diagonal.
    pub maps: BTreeMap<usize, Vec<f32>>,
    /// The heads that are patched; `None` means every head of every layer in `maps`.
    pub heads: Option<BTreeSet<Head>>,
}

/// What is changed in the forward pass; the default changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interventions {
    /// Heads whose rows of `attn.c_proj.weight` count as zero (the bias is kept).
    pub ablate: BTreeSet<Head>,
    /// An attention patch.
    pub patch: Option<AttentionPatch>,
}

impl Interventions {
    /// Nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.ablate.is_empty() && self.patch.is_none()
    }

    /// Checks heads, layers and map sizes against the model and `tokens`.
    pub fn check(&self, config: &Config, tokens: usize) -> Result<(), RequestError> {
        let patched = self.patch.iter().flat_map(|patch| patch.heads.iter().flatten());
        for head in self.ablate.iter().chain(patched) {
            if head.layer >= config.n_layer || head.head >= config.n_head {
                return Err(RequestError::invalid(
                    format!("head {}.{}", head.layer, head.head),
                    format!(
                        "the model has layers 0 to {} and heads 0 to {}",
                        config.n_layer - 1,
                        config.n_head - 1
                    ),
                ));
            }
        }
        let Some(patch) = &self.patch else { return Ok(()) };
        if !patch.alpha.is_finite() {
            return Err(RequestError::invalid("alpha", "must be a finite number"));
        }
        let size = config.n_head * tokens * tokens;
        for (layer, map) in &patch.maps {
            if *layer >= config.n_layer {
                return Err(RequestError::invalid(
                    "patch",
                    format!(
                        "has maps for layer {layer}, but the model has layers 0 to {}",
                        config.n_layer - 1
                    ),
                ));
            }
            if map.len() != size {
                return Err(RequestError::invalid(
                    "patch",
                    format!(
                        "the map of layer {layer} has {} values; {} heads and {tokens} tokens need {size}",
                        map.len(),
                        config.n_head
                    ),
                ));
            }
            if map.iter().any(|x| !x.is_finite()) {
                return Err(RequestError::invalid(
                    "patch",
                    format!("the map of layer {layer} is not finite"),
                ));
            }
        }
        Ok(())
    }
}
