//! The weights of a Hugging Face model directory, mapped into memory.

mod edited;
mod shards;
mod view;
mod write;

pub use edited::{EditedModel, TensorEdit, write_edited_model};
pub use view::{Dtype, WeightView};
pub use write::write_model_weights;

use crate::safetensors_file::SafetensorsFile;
use crate::{Config, FormatError};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The prefix that `GPT2LMHeadModel` puts before the names of `GPT2Model`.
const PREFIX: &str = "transformer.";
/// The unembedding, which has no prefix.
const LM_HEAD: &str = "lm_head.weight";

/// The weights of a GPT-2, memory-mapped from `model.safetensors` or the shards that
/// `model.safetensors.index.json` lists. Nothing is read until it is asked for.
#[derive(Debug)]
pub struct Weights {
    dir: PathBuf,
    files: Vec<SafetensorsFile>,
    /// Canonical name → file and the name it has there.
    places: HashMap<String, Place>,
    untied: bool,
    total_bytes: u64,
}

#[derive(Debug)]
struct Place {
    file: usize,
    stored: String,
}

impl Weights {
    /// Maps the weights in `dir` and checks that every tensor that `config` asks for is there with the right
    /// shape and a floating-point type. Values are checked when they are read.
    ///
    /// Names may come with or without `transformer.`. `lm_head.weight` counts only when
    /// `config.tie_word_embeddings` is false; absent, the head is tied. Other tensors, such as the
    /// `attn.bias` buffers of older files, are ignored.
    pub fn open(dir: &Path, config: &Config) -> Result<Self, FormatError> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        let (files, whole) = if single.is_file() {
            (vec![SafetensorsFile::open(&single)?], single)
        } else if index.is_file() {
            (shards::open(dir, &index)?, index)
        } else {
            return Err(FormatError::malformed(dir, missing_weights(dir)));
        };
        let mut stored = HashMap::new();
        for (file, opened) in files.iter().enumerate() {
            for name in opened.names() {
                stored.insert(name, file);
            }
        }

        // Absent means tied, whatever config.json says: there is nothing else it could be.
        let untied = !config.tie_word_embeddings && stored.contains_key(LM_HEAD);
        let mut places = HashMap::new();
        let mut total_bytes = 0u64;
        for name in Weights::parameter_names(config, untied) {
            let bare = name.strip_prefix(PREFIX).unwrap_or(&name);
            let Some((stored, &file)) =
                stored.get_key_value(name.as_str()).or_else(|| stored.get_key_value(bare))
            else {
                return Err(FormatError::malformed(whole, format!("has no tensor {name}")));
            };
            let view = files[file].float_view(stored, stored)?;
            let expected = Weights::parameter_shape(config, &name);
            if view.shape != expected {
                return Err(FormatError::malformed(
                    files[file].path(),
                    format!("{stored} has shape {:?}; config.json asks for {expected:?}", view.shape),
                ));
            }
            total_bytes = total_bytes.saturating_add(view.bytes.len() as u64);
            places.insert(name, Place { file, stored: stored.clone() });
        }
        Ok(Weights { dir: dir.to_owned(), files, places, untied, total_bytes })
    }

    /// A parameter by its canonical name, as in `transformer.h.3.attn.c_attn.weight` or `lm_head.weight`.
    pub fn get(&self, name: &str) -> Result<WeightView<'_>, FormatError> {
        match self.places.get(name) {
            Some(place) => self.files[place.file].float_view(&place.stored, name),
            None => Err(FormatError::malformed(&self.dir, format!("the model has no parameter {name}"))),
        }
    }

    /// Whether the unembedding is a matrix of its own, `lm_head.weight`.
    pub fn untied_head(&self) -> bool {
        self.untied
    }

    /// Bytes of all parameters as they are stored.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The canonical names of a model's parameters in the order of its forward pass.
    pub fn parameter_names(config: &Config, untied: bool) -> Vec<String> {
        let mut names = vec![format!("{PREFIX}wte.weight"), format!("{PREFIX}wpe.weight")];
        for layer in 0..config.n_layer {
            for module in ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"] {
                names.push(format!("{PREFIX}h.{layer}.{module}.weight"));
                names.push(format!("{PREFIX}h.{layer}.{module}.bias"));
            }
        }
        names.push(format!("{PREFIX}ln_f.weight"));
        names.push(format!("{PREFIX}ln_f.bias"));
        if untied {
            names.push(LM_HEAD.to_owned());
        }
        names
    }

    /// The shape of a parameter, linear layers as `[in, out]`; empty for a name that is not one of
    /// [`parameter_names`](Weights::parameter_names).
    pub fn parameter_shape(config: &Config, name: &str) -> Vec<usize> {
        let (d, i) = (config.n_embd, config.n_inner);
        let below = name.strip_prefix(PREFIX).unwrap_or(name);
        let in_block = below.strip_prefix("h.").and_then(|rest| rest.split_once('.')).map(|(_, rest)| rest);
        match in_block.unwrap_or(below) {
            "wte.weight" | LM_HEAD => vec![config.vocab_size, d],
            "wpe.weight" => vec![config.n_positions, d],
            "ln_1.weight" | "ln_1.bias" | "ln_2.weight" | "ln_2.bias" => vec![d],
            "ln_f.weight" | "ln_f.bias" => vec![d],
            "attn.c_attn.weight" => vec![d, 3 * d],
            "attn.c_attn.bias" => vec![3 * d],
            "attn.c_proj.weight" => vec![d, d],
            "attn.c_proj.bias" => vec![d],
            "mlp.c_fc.weight" => vec![d, i],
            "mlp.c_fc.bias" => vec![i],
            "mlp.c_proj.weight" => vec![i, d],
            "mlp.c_proj.bias" => vec![d],
            _ => Vec::new(),
        }
    }
}

fn missing_weights(dir: &Path) -> String {
    if !dir.is_dir() {
        return "there is no such directory".to_owned();
    }
    let mut reason = "has neither model.safetensors nor model.safetensors.index.json".to_owned();
    if dir.join("pytorch_model.bin").is_file() {
        reason.push_str(
            "; it has pytorch_model.bin, which transformers converts: load it and save_pretrained() again",
        );
    }
    reason
}
