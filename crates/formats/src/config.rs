//! The shape of a GPT-2: what `config.json` says.

use crate::FormatError;
use crate::bounded::{self, Limits, brief};
use serde_json::{Map, Value};
use std::path::Path;

/// GPT-2's own has 665 bytes and 30 values; others carry along what their trainings were given.
const FILE_LIMITS: Limits = Limits { bytes: 1 << 20, values: 10_000 };
/// Most blocks a configuration may ask for (GPT-2 XL has 48).
pub(crate) const MAX_LAYERS: u64 = 1 << 10;
/// Largest width (GPT-2 XL has 1,600).
pub(crate) const MAX_WIDTH: u64 = 1 << 16;
/// Largest width of an MLP: 4 times the largest width.
pub(crate) const MAX_INNER: u64 = 1 << 18;
/// Largest vocabulary (GPT-2 has 50,257).
pub(crate) const MAX_VOCABULARY: u64 = 1 << 22;
/// Most positions (GPT-2 has 1,024).
pub(crate) const MAX_POSITIONS: u64 = 1 << 20;
/// Least and largest ε (GPT-2 has 1e-5): below, it would vanish in f32 and a constant row be divided by 0; above, nothing of
/// a row would be left.
const EPSILON: std::ops::RangeInclusive<f64> = 1e-30..=1.0;

/// The shape of a GPT-2 model, named as Hugging Face's `config.json` names it.
///
/// ```
/// use retrograd_formats::Config;
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("config.json");
/// std::fs::write(&path, r#"{"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024,
///                           "n_embd": 768, "n_layer": 12, "n_head": 12}"#)?;
/// let config = Config::from_dir(directory.path())?;
/// assert_eq!((config.n_inner, config.head_dim()), (3072, 64));
/// assert_eq!(config.parameter_count(), 124_439_808);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// V, the number of tokens.
    pub vocab_size: usize,
    /// The longest sequence.
    pub n_positions: usize,
    /// D, the width of the residual stream.
    pub n_embd: usize,
    /// The number of blocks.
    pub n_layer: usize,
    /// H, the number of heads in a block; divides `n_embd`.
    pub n_head: usize,
    /// I, the width of an MLP, with the file's `null` resolved to 4·`n_embd`.
    pub n_inner: usize,
    /// ε in LayerNorm's √(variance + ε).
    pub layer_norm_epsilon: f64,
    /// The token a text begins with, where there is one inside the vocabulary.
    pub bos_token_id: Option<u32>,
    /// The token a text ends with, where there is one inside the vocabulary.
    pub eos_token_id: Option<u32>,
    /// Whether the unembedding is the embedding's transpose.
    pub tie_word_embeddings: bool,
}

impl Config {
    /// Reads `config.json` of a Hugging Face model directory.
    pub fn from_dir(dir: &Path) -> Result<Self, FormatError> {
        let path = dir.join("config.json");
        if !path.is_file() {
            let reason = if dir.is_dir() {
                format!("no config.json in {}: not a Hugging Face model directory", dir.display())
            } else {
                "there is no such directory".to_owned()
            };
            return Err(FormatError::malformed(dir, reason));
        }
        Config::from_file(&path)
    }

    /// Reads a file with the content of a `config.json`.
    pub fn from_file(path: &Path) -> Result<Self, FormatError> {
        Config::from_json(path, &bounded::read_json(path, FILE_LIMITS)?)
    }

    /// Checks and takes over a parsed `config.json`; `path` is where errors say it came from.
    pub(crate) fn from_json(path: &Path, value: &Value) -> Result<Self, FormatError> {
        let Value::Object(object) = value else {
            return Err(FormatError::malformed(path, "is not a JSON object"));
        };
        let fields = Fields { path, object };
        fields.check_architecture()?;

        let n_embd = fields.size("n_embd", MAX_WIDTH)?;
        let n_head = fields.size("n_head", MAX_WIDTH)?;
        if n_embd % n_head != 0 {
            return fields.fail(format!("n_head of {n_head} does not divide n_embd of {n_embd}"));
        }
        let n_inner = match fields.get("n_inner") {
            Some(_) => fields.size("n_inner", MAX_INNER)?,
            None => 4 * n_embd,
        };
        let layer_norm_epsilon = match fields.get("layer_norm_epsilon") {
            // The value of every GPT-2; older files leave it out.
            None => 1e-5,
            Some(value) => match value.as_f64() {
                Some(epsilon) if EPSILON.contains(&epsilon) => epsilon,
                _ => {
                    let (least, most) = (EPSILON.start(), EPSILON.end());
                    return fields.fail(format!(
                        "layer_norm_epsilon is {}; must be a number from {least:e} to {most}",
                        brief(value)
                    ));
                }
            },
        };
        let vocab_size = fields.size("vocab_size", MAX_VOCABULARY)?;
        let config = Config {
            vocab_size,
            n_positions: fields.size("n_positions", MAX_POSITIONS)?,
            n_embd,
            n_layer: fields.size("n_layer", MAX_LAYERS)?,
            n_head,
            n_inner,
            layer_norm_epsilon,
            bos_token_id: fields.token("bos_token_id", vocab_size)?,
            eos_token_id: fields.token("eos_token_id", vocab_size)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings", true)?,
        };
        if config.checked_parameter_count().and_then(|count| count.checked_mul(4)).is_none() {
            return fields.fail("its sizes make more parameters than this machine can address".to_owned());
        }
        Ok(config)
    }

    /// A complete `config.json` that transformers loads as `GPT2LMHeadModel`.
    pub fn to_hf_json(&self) -> Value {
        let n_inner = if self.n_inner == 4 * self.n_embd { Value::Null } else { self.n_inner.into() };
        serde_json::json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": self.vocab_size,
            "n_positions": self.n_positions,
            "n_ctx": self.n_positions,
            "n_embd": self.n_embd,
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_inner": n_inner,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "initializer_range": 0.02,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "scale_attn_weights": true,
            "scale_attn_by_inverse_layer_idx": false,
            "reorder_and_upcast_attn": false,
            "add_cross_attention": false,
            "use_cache": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "tie_word_embeddings": self.tie_word_embeddings,
        })
    }

    /// d = D/H, the width of a head.
    pub fn head_dim(&self) -> usize {
        self.n_embd / self.n_head
    }

    /// Number of parameters; a tied head counts once.
    pub fn parameter_count(&self) -> usize {
        // Checked when the file was read; only a hand-made Config can exceed it.
        self.checked_parameter_count().unwrap_or(usize::MAX)
    }

    fn checked_parameter_count(&self) -> Option<usize> {
        let (d, i) = (self.n_embd, self.n_inner);
        let embeddings = self.vocab_size.checked_add(self.n_positions)?.checked_mul(d)?;
        // c_attn 3D² + 3D, attn.c_proj D² + D, the MLP 2DI + I + D, two LayerNorms 4D.
        let attention = d.checked_mul(d)?.checked_mul(4)?;
        let mlp = d.checked_mul(i)?.checked_mul(2)?;
        let vectors = d.checked_mul(9)?.checked_add(i)?;
        let block = attention.checked_add(mlp)?.checked_add(vectors)?;
        let head = if self.tie_word_embeddings { 0 } else { self.vocab_size.checked_mul(d)? };
        block
            .checked_mul(self.n_layer)?
            .checked_add(embeddings)?
            .checked_add(d.checked_mul(2)?)?
            .checked_add(head)
    }
}

/// The fields of a `config.json`; a field that is `null` counts as absent.
struct Fields<'a> {
    path: &'a Path,
    object: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn fail<T>(&self, reason: String) -> Result<T, FormatError> {
        Err(FormatError::malformed(self.path, reason))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn size(&self, name: &str, most: u64) -> Result<usize, FormatError> {
        let Some(value) = self.get(name) else {
            return self.fail(format!("{name} is missing"));
        };
        match value.as_u64() {
            Some(size) if (1..=most).contains(&size) => Ok(size as usize),
            _ => self.fail(format!("{name} is {}; must be a whole number from 1 to {most}", brief(value))),
        }
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, FormatError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => self.fail(format!("{name} is {}; must be true or false", brief(value))),
        }
    }

    /// A token id or a list of which the first counts. transformers writes 50256 whatever the
    /// vocabulary is, so an id outside it means that there is none.
    fn token(&self, name: &str, vocab_size: usize) -> Result<Option<u32>, FormatError> {
        let value = match self.object.get(name) {
            Some(Value::Null) => return Ok(None),
            Some(Value::Array(ids)) => ids.first().and_then(Value::as_i64),
            Some(Value::Number(id)) => id.as_i64(),
            Some(value) => {
                return self.fail(format!("{name} is {}; must be a token id or null", brief(value)));
            }
            None => Some(50256),
        };
        Ok(value.and_then(|id| u32::try_from(id).ok()).filter(|id| (*id as usize) < vocab_size))
    }

    fn check_architecture(&self) -> Result<(), FormatError> {
        match self.get("model_type") {
            Some(Value::String(kind)) if kind == "gpt2" => {}
            Some(Value::String(kind)) => {
                return self.fail(format!("is a '{kind}' model; only GPT-2 ('gpt2') is supported"));
            }
            Some(value) => return self.fail(format!("model_type is {}; must be \"gpt2\"", brief(value))),
            None => {
                let gpt2 = self.get("architectures").and_then(Value::as_array).is_some_and(|names| {
                    names.iter().filter_map(Value::as_str).any(|name| name.starts_with("GPT2"))
                });
                if !gpt2 {
                    return self.fail("model_type is missing; must be \"gpt2\"".to_owned());
                }
            }
        }
        match self.get("activation_function") {
            None => {}
            Some(Value::String(name)) if name == "gelu_new" => {}
            Some(value) => {
                return self.fail(format!(
                    "activation_function is {}; only \"gelu_new\" is supported",
                    brief(value)
                ));
            }
        }
        if self.flag("add_cross_attention", false)? {
            return self.fail("add_cross_attention is true; cross-attention is not supported".to_owned());
        }
        if self.flag("scale_attn_by_inverse_layer_idx", false)? {
            return self.fail("scale_attn_by_inverse_layer_idx is true; only false is supported".to_owned());
        }
        if !self.flag("scale_attn_weights", true)? {
            return self.fail("scale_attn_weights is false; only true is supported".to_owned());
        }
        // reorder_and_upcast_attn changes the order of rounding in f16, not the function.
        Ok(())
    }
}
