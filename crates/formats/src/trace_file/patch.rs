//! Attention maps for patching, from a trace file or any safetensors file with such tensors.

use crate::safetensors_file::SafetensorsFile;
use crate::{AttentionPatch, Config, FormatError, PatchMap};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads the maps `transformer.h.{l}.attn.reversed` (or `.attn.pattern`) `[H, T, T]` of every layer for which
/// the file has one. They must fit the model and `tokens`, be finite, and be zero above the diagonal.
pub fn load_patch(
    path: &Path,
    map: PatchMap,
    alpha: f32,
    config: &Config,
    tokens: usize,
) -> Result<AttentionPatch, FormatError> {
    let malformed = |reason: String| FormatError::malformed(path, reason);
    if !alpha.is_finite() {
        return Err(malformed(format!("cannot be applied with alpha {alpha}: it must be a finite number")));
    }
    let file = SafetensorsFile::open(path)?;
    let suffix = match map {
        PatchMap::Reversed => "attn.reversed",
        PatchMap::Forward => "attn.pattern",
    };
    let mut maps = BTreeMap::new();
    for name in file.names() {
        let Some(layer) = name
            .strip_prefix("transformer.h.")
            .and_then(|rest| rest.split_once('.'))
            .filter(|(_, rest)| *rest == suffix)
            .and_then(|(layer, _)| layer.parse::<usize>().ok())
            // Not also under another spelling, as h.01.
            .filter(|layer| name == format!("transformer.h.{layer}.{suffix}"))
        else {
            continue;
        };
        if layer >= config.n_layer {
            return Err(malformed(format!("has {name}, but the model has {} layers", config.n_layer)));
        }
        let view = file.float_view(&name, &name)?;
        let [heads, rows, columns] = view.shape[..] else {
            return Err(malformed(format!(
                "{name} has shape {:?}; a map is [heads, tokens, tokens]",
                view.shape
            )));
        };
        if heads != config.n_head {
            return Err(malformed(format!("{name} has {heads} heads, but the model has {}", config.n_head)));
        }
        if rows != tokens || columns != tokens {
            return Err(malformed(format!(
                "{name} is over {rows}x{columns} tokens, but the prompt has {tokens}"
            )));
        }
        let values = view.to_f32()?.into_owned();
        for (row, query) in values.chunks(tokens.max(1)).zip((0..tokens).cycle()) {
            if row[query + 1..].iter().any(|&x| x != 0.0) {
                return Err(malformed(format!(
                    "{name} is not zero above the diagonal: not a causal attention map"
                )));
            }
        }
        maps.insert(layer, values);
    }
    if maps.is_empty() {
        return Err(malformed(format!("has no tensor transformer.h.L.{suffix}")));
    }
    Ok(AttentionPatch { alpha, maps, heads: None })
}
