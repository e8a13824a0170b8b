//! One edit, step by step, and what it did.

use super::{EditPlan, Effect, Fact, Method};
use retrograd_formats::{
    BlockSite, Capture, HostTensor, Interventions, Layer, LinearKind, LinearLayer, Objective, Site,
    TraceRead, TraceRequest,
};
use retrograd_model::{Gpt2, ModelError, Trace, WeightEdit};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Instant;

/// The passes and the time that an edit took; the forward pass that measures its effect is not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Forward passes.
    pub forward_passes: usize,
    /// Backward passes.
    pub backward_passes: usize,
    /// Seconds, until the device was done.
    pub seconds: f64,
}

/// What an edit did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The model's answer before.
    pub before: Effect,
    /// The model's answer now.
    pub after: Effect,
    /// Steps that were made: 0 where the target was the answer already.
    pub steps: usize,
    /// What it took.
    pub cost: Cost,
}

/// Edits a fact into the model and measures the effect.
///
/// # Errors
/// When the plan does not fit the model, or the edited model's logits are not finite.
pub fn apply(edit: &mut WeightEdit, fact: &Fact, plan: &EditPlan) -> Result<Outcome, ModelError> {
    let (before, steps, cost) = write(edit, fact, plan)?;
    let model = edit.model();
    let after = match steps {
        0 => before.clone(),
        _ => {
            let logits = model.logits(&fact.prompt, &Interventions::default())?;
            Effect::new(&logits, fact.first_target()?, model.tokenizer())?
        }
    };
    Ok(Outcome { before, after, steps, cost })
}

/// Edits a fact into the model. Returns the answer before, the number of steps and what they took.
pub(super) fn write(
    edit: &mut WeightEdit,
    fact: &Fact,
    plan: &EditPlan,
) -> Result<(Effect, usize, Cost), ModelError> {
    let model = edit.model().clone();
    plan.check(model.config())?;
    let (target, tokenizer) = (fact.first_target()?, model.tokenizer());
    let layers = plan.layers();
    let start = Instant::now();
    let (mut factors, logits) = Factors::new(&model, fact, &plan.method, &layers)?;
    let before = Effect::new(&logits, target, tokenizer)?;
    let (mut steps, mut passes) = (0, 1);
    while steps < plan.steps {
        if steps == 0 {
            if before.is_success() && !plan.force {
                break;
            }
        } else {
            // The pass that held the last factors serves the next.
            drop(factors);
            let (next, logits) = Factors::new(&model, fact, &plan.method, &layers)?;
            factors = next;
            passes += 1;
            if plan.stop_on_success && Effect::new(&logits, target, tokenizer)?.is_success() {
                break;
            }
        }
        factors.step(edit, plan)?;
        steps += 1;
    }
    model.gpu().wait()?;
    let backward_passes = if matches!(plan.method, Method::Sgd { .. }) { passes } else { 0 };
    let seconds = start.elapsed().as_secs_f64();
    Ok((before, steps, Cost { forward_passes: passes, backward_passes, seconds }))
}

/// What one step of an edit writes, taken from a pass over the model as it is.
pub(super) enum Factors {
    /// x_n of `mlp.c_proj`, by block, `[1, I]`; the unembedding's row of the target, `[1, D]`.
    Shift { x: BTreeMap<usize, HostTensor>, delta: HostTensor },
    /// x and δ of every chosen layer, on the device.
    Sgd(Box<Trace>),
}

impl Factors {
    /// One pass: forward for a shift, forward and backward for sgd. Also returns the logits after the prompt.
    pub(super) fn new(
        model: &Gpt2,
        fact: &Fact,
        method: &Method,
        layers: &[LinearLayer],
    ) -> Result<(Self, Vec<f32>), ModelError> {
        let target = fact.first_target()?;
        match method {
            Method::Shift { .. } => {
                let blocks: Vec<Layer> = layers
                    .iter()
                    .filter_map(|layer| match layer {
                        LinearLayer::Block(block, LinearKind::MlpProj) => Some(*block),
                        _ => None,
                    })
                    .collect();
                let mut sites = vec![Site::Logits];
                sites.extend(blocks.iter().map(|block| Site::Block(*block, BlockSite::MlpProjInput)));
                let mut read = model.observe(&fact.prompt, &sites)?.into_iter();
                let logits = read.next().map(|logits| logits.as_f32().to_vec()).unwrap_or_default();
                let width = model.config().n_inner;
                let last = |g: HostTensor| {
                    let rows = g.as_f32();
                    HostTensor::f32([1, width], rows[rows.len() - width..].to_vec())
                };
                let x = blocks.iter().map(|block| block.0).zip(read.map(last)).collect();
                let row = model.unembedding_row(target)?;
                let delta = HostTensor::f32([1, row.len()], row);
                Ok((Factors::Shift { x, delta }, logits))
            }
            Method::Sgd { .. } => {
                let mut sites: Vec<Site> = vec![Site::Logits];
                for layer in layers {
                    let (x, delta) = layer.factors();
                    sites.extend([x, delta]);
                }
                let (mut ids, objective) = (fact.prompt.clone(), fact.target.as_slice());
                let objective = match objective {
                    [only] => Objective::Target(*only),
                    several => {
                        // The last token is predicted, but nothing after it.
                        ids.extend_from_slice(several);
                        Objective::Completion { start: fact.prompt.len() }
                    }
                };
                let request = TraceRequest::new(ids, objective).capture(Capture::only(sites));
                let trace = model.trace(&request)?;
                // The first row is that of the prompt's last position.
                let mut logits = trace.read(Site::Logits)?.as_f32().to_vec();
                logits.truncate(model.config().vocab_size);
                Ok((Factors::Sgd(Box::new(trace)), logits))
            }
        }
    }

    /// Writes one step.
    pub(super) fn step(&self, edit: &mut WeightEdit, plan: &EditPlan) -> Result<(), ModelError> {
        match (self, &plan.method) {
            (Factors::Shift { x, delta }, Method::Shift { layer }) => match x.get(layer) {
                Some(x) => {
                    let layer = LinearLayer::Block(Layer(*layer), LinearKind::MlpProj);
                    edit.add(layer, x, delta, plan.eta)
                }
                None => Ok(()),
            },
            (Factors::Sgd(trace), Method::Sgd { layers, biases }) => {
                edit.descend(trace, layers, plan.eta, *biases)
            }
            _ => Ok(()),
        }
    }
}
