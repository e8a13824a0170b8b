//! A small model with random weights, traced on a device and by the f64 oracle.

use crate::lens::{self, Deviation};
use crate::reference::ReferenceModel;
use crate::train::{Dataset, TrainOptions, Trainer};
use crate::{
    AttentionPatch, Config, GenerateOptions, Gpt2, Gpu, Head, Interventions, ModelError, Objective,
    Precision, TokenId, TraceRequest,
};
use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};
use retrograd_formats::{Dtype, FormatError, Weights, write_atomic, write_model_weights};
use std::ops::ControlFlow;
use std::path::Path;

/// Largest relative deviation of a tensor that counts as right: rounding in f32 leaves a few millionths on a
/// model of this size, a wrong kernel or driver leaves far more.
pub const TOLERANCE: f64 = 1e-4;

/// What the self-test found.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// Every tensor of the trace against the oracle's.
    pub deviations: Vec<Deviation>,
    /// Loss on the device and by the oracle.
    pub losses: (f32, f32),
}

impl SelfTest {
    /// The tensor furthest off.
    pub fn worst(&self) -> Option<&Deviation> {
        lens::worst(&self.deviations)
    }

    /// Whether every tensor is within [`TOLERANCE`].
    pub fn passed(&self) -> bool {
        self.worst().is_some_and(|worst| worst.relative <= TOLERANCE)
    }
}

/// Traces a random model on `gpu` and by the oracle, and compares every tensor. Its sizes are off every tile
/// on purpose.
pub fn run(gpu: &Gpu) -> Result<SelfTest, ModelError> {
    let dir = tempfile::tempdir().map_err(|source| FormatError::io(std::env::temp_dir(), source))?;
    write_random_model(dir.path())?;
    let ids = (0..TOKENS as u32).map(|i| TokenId(i * 89 % 331)).collect();
    let request = TraceRequest::new(ids, Objective::NextToken);
    let trace = Gpt2::load(gpu, dir.path(), Precision::F32)?.trace(&request)?;
    let oracle = ReferenceModel::load(dir.path())?.trace(&request)?;
    let losses = (crate::TraceRead::loss(&trace)?, crate::TraceRead::loss(&oracle)?);
    Ok(SelfTest { deviations: lens::compare(&trace, &oracle)?, losses })
}

/// Has `gpu` compile every kernel that traces, interventions, generation and training use, in both precisions,
/// for [`dump_shaders`](crate::gpu::dump_shaders).
pub fn compile_all(gpu: &Gpu) -> Result<(), ModelError> {
    let dir = tempfile::tempdir().map_err(|source| FormatError::io(std::env::temp_dir(), source))?;
    write_random_model(dir.path())?;
    let ids: Vec<TokenId> = (0..5).map(TokenId).collect();
    let reversed = |layer| crate::Site::Block(crate::Layer(layer), crate::BlockSite::Reversed);
    for precision in [Precision::F32, Precision::F16] {
        let model = Gpt2::load(gpu, dir.path(), precision)?;
        let trace = model.trace(&TraceRequest::new(ids.clone(), Objective::NextToken))?;
        let maps = [(0, crate::TraceRead::read(&trace, reversed(0))?.as_f32().to_vec())].into();
        let interventions = Interventions {
            ablate: [Head { layer: 1, head: 0 }].into(),
            patch: Some(AttentionPatch { alpha: -1.0, maps, heads: None }),
        };
        let difference = Objective::LogitDifference { token: TokenId(1), minus: TokenId(2) };
        model.trace(&TraceRequest::new(ids.clone(), difference).interventions(interventions.clone()))?;
        let options = GenerateOptions { max_new_tokens: 2, interventions, ..GenerateOptions::default() };
        model.generate(&ids, &options, |_| ControlFlow::Continue(()))?;
    }
    let options = TrainOptions { steps: 1, warmup: 0, batch: 2, context: 4, ..TrainOptions::default() };
    let data = Dataset::from_ids((0..9).collect());
    Trainer::from_weights(gpu, dir.path(), data, options)?.step()?;
    Ok(())
}

/// Long enough that attention has something to choose from.
const TOKENS: usize = 37;

/// Writes an HF directory with two layers, three heads and weights of GPT-2's usual size.
fn write_random_model(dir: &Path) -> Result<(), FormatError> {
    let config = Config {
        vocab_size: 331,
        n_positions: 40,
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
