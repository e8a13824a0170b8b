//! A small model with random weights: what is verified where no other will do.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};
use retrograd_formats::{Config, Dtype, FormatError, Weights, write_atomic, write_model_weights};
use std::path::Path;

/// Tokens that it has room for.
pub(crate) const POSITIONS: usize = 40;
/// Tokens that it knows.
pub(crate) const VOCABULARY: usize = 331;

/// Writes an HF directory with two layers, three heads and weights of GPT-2's usual size. Its sizes are off every
/// tile on purpose.
pub(crate) fn write(dir: &Path) -> Result<(), FormatError> {
    let config = Config {
        vocab_size: VOCABULARY,
        n_positions: POSITIONS,
        n_embd: 60,
        n_layer: 2,
        n_head: 3,
        n_inner: 250,
        layer_norm_epsilon: 1e-5,
        bos_token_id: None,
        eos_token_id: None,
        tie_word_embeddings: true,
    };
    let mut random = Pcg64::seed_from_u64(1);
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Weights::parameter_names(&config, false)
        .into_iter()
        .map(|name| {
            let shape = Weights::parameter_shape(&config, &name);
            let norm = name.contains("ln_") && name.ends_with(".weight");
            // Uniform within ±0.2, about a LayerNorm's weight of 1.
            let values = (0..shape.iter().product())
                .map(|_| (random.next_u32() as f32 / u32::MAX as f32 - 0.5) * 0.4 + f32::from(u8::from(norm)))
                .collect();
            (name, shape, values)
        })
        .collect();
    let borrowed: Vec<(String, Vec<usize>, &[f32])> = tensors
        .iter()
        .map(|(name, shape, values)| (name.clone(), shape.clone(), values.as_slice()))
        .collect();
    write_atomic(&dir.join("config.json"), config.to_hf_json().to_string().as_bytes())?;
    write_model_weights(&dir.join("model.safetensors"), &borrowed, Dtype::F32)
}
