//! The parameters of a GPT-2 by the names that HF gives them.

use crate::block::BlockWeights;
use crate::head::HeadWeights;
use retrograd_formats::{Config, RequestError, Weights};
use std::collections::BTreeMap;

/// Token embedding, tied to the unembedding unless [`LM_HEAD`] is there.
pub(crate) const WTE: &str = "transformer.wte.weight";
/// Position embedding.
pub(crate) const WPE: &str = "transformer.wpe.weight";
/// γ of the final LayerNorm.
pub(crate) const LN_F_WEIGHT: &str = "transformer.ln_f.weight";
/// β of the final LayerNorm.
pub(crate) const LN_F_BIAS: &str = "transformer.ln_f.bias";
/// The unembedding of a model that is not tied.
pub(crate) const LM_HEAD: &str = "lm_head.weight";

/// The name of a parameter of block `layer`, as in `transformer.h.3.attn.c_proj.weight`.
pub(crate) fn in_block(layer: usize, name: &str) -> String {
    format!("transformer.h.{layer}.{name}")
}

/// All parameters of a model; names and sizes are those that [`Weights`] lists.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    tensors: BTreeMap<String, Vec<f64>>,
}

impl Parameters {
    /// Checks that the sizes make a model and that each parameter is there with its size, and nothing else.
    pub fn new(config: &Config, tensors: BTreeMap<String, Vec<f64>>) -> Result<Self, RequestError> {
        let Config { vocab_size, n_positions, n_embd, n_layer, n_head, n_inner, .. } = *config;
        if [vocab_size, n_positions, n_embd, n_layer, n_head, n_inner].contains(&0) || n_embd % n_head != 0 {
            return Err(RequestError::invalid(
                "config",
                format!("no size may be 0 and n_head of {n_head} must divide n_embd of {n_embd}: {config:?}"),
            ));
        }
        let names = Weights::parameter_names(config, !config.tie_word_embeddings);
        for name in &names {
            let shape = Weights::parameter_shape(config, name);
            let tensor = tensors
                .get(name)
                .ok_or_else(|| RequestError::invalid(name, format!("is missing; its shape is {shape:?}")))?;
            if tensor.len() != shape.iter().product::<usize>() {
                return Err(RequestError::invalid(
                    name,
                    format!("has {} values; its shape is {shape:?}", tensor.len()),
                ));
            }
        }
        match tensors.keys().find(|name| !names.contains(name)) {
            Some(name) => Err(RequestError::invalid(name, "is not a parameter of this model")),
            None => Ok(Parameters { tensors }),
        }
    }

    /// Name → values.
    pub fn tensors(&self) -> &BTreeMap<String, Vec<f64>> {
        &self.tensors
    }

    /// Name and values, for an optimiser; the sizes cannot be changed.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = (&str, &mut [f64])> {
        self.tensors.iter_mut().map(|(name, values)| (name.as_str(), values.as_mut_slice()))
    }

    /// One parameter by its name.
    pub fn get(&self, name: &str) -> &[f64] {
        &self.tensors[name]
    }

    /// The parameters of one block.
    pub fn block(&self, layer: usize) -> BlockWeights<'_> {
        let get = |name| self.get(&in_block(layer, name));
        BlockWeights {
            ln_1_gamma: get("ln_1.weight"),
            ln_1_beta: get("ln_1.bias"),
            w_qkv: get("attn.c_attn.weight"),
            b_qkv: get("attn.c_attn.bias"),
            w_o: get("attn.c_proj.weight"),
            b_o: get("attn.c_proj.bias"),
            ln_2_gamma: get("ln_2.weight"),
            ln_2_beta: get("ln_2.bias"),
            w_1: get("mlp.c_fc.weight"),
            b_1: get("mlp.c_fc.bias"),
            w_2: get("mlp.c_proj.weight"),
            b_2: get("mlp.c_proj.bias"),
        }
    }

    /// The name of the unembedding's weight: its own, or the token embedding's in a tied model.
    pub fn head_name(&self) -> &'static str {
        if self.tensors.contains_key(LM_HEAD) { LM_HEAD } else { WTE }
    }

    /// The final LayerNorm and the unembedding.
    pub fn head(&self, config: &Config) -> HeadWeights<'_> {
        HeadWeights {
            ln_f_gamma: self.get(LN_F_WEIGHT),
            ln_f_beta: self.get(LN_F_BIAS),
            w_head: self.get(self.head_name()),
            d: config.n_embd,
            v: config.vocab_size,
            eps: config.layer_norm_epsilon,
        }
    }
}
