//! A small model with random weights, traced on a device and by the f64 oracle.

use crate::random_model::{self, VOCABULARY};
use retrograd_formats::{
    AttentionPatch, BlockSite, FormatError, Head, Interventions, Layer, Objective, Site, TokenId, TraceRead,
    TraceRequest,
};
use retrograd_gpu::Gpu;
use retrograd_lens::{self as lens, Deviation};
use retrograd_model::train::{Dataset, TrainOptions, Trainer};
use retrograd_model::{GenerateOptions, Gpt2, ModelError, Precision};
use retrograd_reference::ReferenceModel;
use std::ops::ControlFlow;

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
    random_model::write(dir.path())?;
    let ids = (0..TOKENS as u32).map(|i| TokenId(i * 89 % VOCABULARY as u32)).collect();
    let request = TraceRequest::new(ids, Objective::NextToken);
    let trace = Gpt2::load(gpu, dir.path(), Precision::F32)?.trace(&request)?;
    let oracle = ReferenceModel::load(dir.path())?.trace(&request)?;
    let losses = (trace.loss()?, oracle.loss()?);
    Ok(SelfTest { deviations: lens::compare(&trace, &oracle)?, losses })
}

/// Has `gpu` compile every kernel that traces, interventions, generation and training use, in both precisions,
/// for [`dump_shaders`](retrograd_gpu::dump_shaders).
pub fn compile_all(gpu: &Gpu) -> Result<(), ModelError> {
    let dir = tempfile::tempdir().map_err(|source| FormatError::io(std::env::temp_dir(), source))?;
    random_model::write(dir.path())?;
    let ids: Vec<TokenId> = (0..5).map(TokenId).collect();
    let reversed = |layer| Site::Block(Layer(layer), BlockSite::Reversed);
    for precision in [Precision::F32, Precision::F16] {
        let model = Gpt2::load(gpu, dir.path(), precision)?;
        let trace = model.trace(&TraceRequest::new(ids.clone(), Objective::NextToken))?;
        let maps = [(0, trace.read(reversed(0))?.as_f32().to_vec())].into();
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
