//! Reproducible random numbers and models.

use retrograd_formats::{Config, TokenId, Weights};
use retrograd_reference::ReferenceModel;
use std::collections::BTreeMap;

/// SplitMix64 (Steele, Lea & Flood, 2014): small, and good enough to fill a tensor.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [−1, 1).
    pub fn number(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn numbers(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.number()).collect()
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn ids(&mut self, n: usize, vocabulary: usize) -> Vec<TokenId> {
        (0..n).map(|_| TokenId(self.below(vocabulary) as u32)).collect()
    }
}

/// Sizes on which nothing is aligned with anything.
pub fn config(n_layer: usize, n_embd: usize, n_head: usize, n_inner: usize, tied: bool) -> Config {
    Config {
        vocab_size: 11,
        n_positions: 7,
        n_embd,
        n_layer,
        n_head,
        n_inner,
        layer_norm_epsilon: 1e-5,
        bos_token_id: None,
        eos_token_id: None,
        tie_word_embeddings: tied,
    }
}

pub fn parameters(config: &Config, seed: u64) -> BTreeMap<String, Vec<f64>> {
    let mut random = Random::new(seed);
    let names = Weights::parameter_names(config, !config.tie_word_embeddings);
    let tensors = names.into_iter().map(|name| {
        let size = Weights::parameter_shape(config, &name).iter().product();
        // γ around 1; everything else around 0.
        let is_gamma = name.contains("ln_") && name.ends_with(".weight");
        let values = random.numbers(size).into_iter().map(|x| if is_gamma { 1.0 + 0.3 * x } else { 0.7 * x });
        (name, values.collect())
    });
    tensors.collect()
}

pub fn model(config: &Config, seed: u64) -> ReferenceModel {
    ReferenceModel::from_parts(config.clone(), parameters(config, seed)).unwrap()
}
