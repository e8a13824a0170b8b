//! Causal mediation: what each head does to the answer, by replacing it.
//!
//! ```text
//! effect(h) = P(target | o_h replaced) − P(target)
//! ```
//!
//! A head that matters for the target has a *negative* effect when it is silenced (Vig et al. 2020), and a *positive* one
//! when its mean over prompts that show the task takes its place in prompts that do not (Todd et al. 2024).

use crate::{Statistic, TaskPrompt, TokenText};
use retrograd_formats::{
    BlockSite, Capture, Head, Layer, Objective, RequestError, Site, TokenId, TraceRequest,
};
use retrograd_model::{Gpt2, ModelError, Replacement};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Rows of a batch of one layer's heads.
const BATCH_ROWS: usize = 2048;

/// The effect of replacing a head.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadEffect {
    /// The block.
    pub layer: usize,
    /// The head within the block.
    pub head: usize,
    /// Mean of P(target | head replaced) − P(target) over the prompts.
    pub indirect_effect: f64,
    /// Its standard deviation over the prompts.
    pub std: f64,
}

impl HeadEffect {
    /// The head.
    pub fn id(&self) -> Head {
        Head { layer: self.layer, head: self.head }
    }
}

/// The effects of all heads, in the order of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mediation {
    /// How heads were replaced: `zero` or `mean`.
    pub ablation: Ablation,
    /// P(target) with every head in place.
    pub target_probability: Statistic,
    /// The effects.
    pub heads: Vec<HeadEffect>,
}

/// What replaces a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ablation {
    /// Nothing, at every position.
    Zero,
    /// Its mean at the last position over other prompts.
    Mean,
}

impl Mediation {
    /// How much each head matters for the target, the sign put right: larger matters more.
    pub fn importance(&self, effect: &HeadEffect) -> f64 {
        match self.ablation {
            Ablation::Zero => -effect.indirect_effect,
            Ablation::Mean => effect.indirect_effect,
        }
    }
}

/// The document of `retrograd mediate --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MediationReport {
    /// `retrograd-mediate/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The tokens of the prompt; none for a task.
    pub tokens: Vec<TokenText>,
    /// The target of a single prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TokenText>,
    /// The task and how its prompts were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<serde_json::Value>,
    /// Prompts that the effects are means of.
    pub prompts: usize,
    /// The effects.
    #[serde(flatten)]
    pub mediation: Mediation,
}

/// Silences each head in turn on every prompt and target.
///
/// # Errors
/// When a prompt does not fit the model.
pub fn mediate(
    model: &Gpt2,
    prompts: &[(Vec<TokenId>, TokenId)],
    progress: &mut dyn FnMut(usize),
) -> Result<Mediation, ModelError> {
    run(model, prompts, None, progress)
}

/// Replaces each head at the last position of `corrupted` prompts by its mean over `clean` ones.
///
/// # Errors
/// When a prompt does not fit the model, or there are no clean ones.
pub fn mediate_by_means(
    model: &Gpt2,
    clean: &[TaskPrompt],
    corrupted: &[TaskPrompt],
    progress: &mut dyn FnMut(usize),
) -> Result<Mediation, ModelError> {
    let means = mean_outputs(model, clean)?;
    let prompts: Vec<(Vec<TokenId>, TokenId)> =
        corrupted.iter().map(|prompt| (prompt.ids.clone(), prompt.target())).collect();
    run(model, &prompts, Some(&means), progress)
}

/// The mean of every head's output at the last position, `[n_layer][D]`.
pub fn mean_outputs(model: &Gpt2, prompts: &[TaskPrompt]) -> Result<Vec<Vec<f32>>, ModelError> {
    if prompts.is_empty() {
        return Err(RequestError::invalid("means", "there are no prompts to take them over").into());
    }
    let (layers, width) = (model.config().n_layer, model.config().n_embd);
    let sites: Vec<Site> =
        (0..layers).map(|layer| Site::Block(Layer(layer), BlockSite::AttnProjInput)).collect();
    let mut sums = vec![vec![0.0f64; width]; layers];
    let given = prompts.iter().map(|prompt| (prompt.ids.clone(), prompt.target())).collect::<Vec<_>>();
    for (tokens, group) in by_length(&given) {
        for chunk in group.chunks((BATCH_ROWS / tokens).max(1)) {
            let request = |at: &usize| {
                let (ids, target) = &given[*at];
                let request = TraceRequest::new(ids.clone(), Objective::Target(*target));
                request.capture(Capture::only(sites.iter().copied()))
            };
            let batch = model.trace_batch(&chunk.iter().map(request).collect::<Vec<_>>())?;
            for (sums, outputs) in sums.iter_mut().zip(batch.read_all(&sites)?) {
                for sequence in outputs.as_f32().chunks_exact(tokens * width) {
                    let last = &sequence[(tokens - 1) * width..];
                    sums.iter_mut().zip(last).for_each(|(sum, value)| *sum += f64::from(*value));
                }
            }
        }
    }
    let mean = |sum: &f64| (sum / prompts.len() as f64) as f32;
    Ok(sums.iter().map(|sums| sums.iter().map(mean).collect()).collect())
}

/// Indices of prompts by their number of tokens.
pub(crate) fn by_length(prompts: &[(Vec<TokenId>, TokenId)]) -> BTreeMap<usize, Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, (ids, _)) in prompts.iter().enumerate() {
        groups.entry(ids.len()).or_default().push(at);
    }
    groups
}

fn run(
    model: &Gpt2,
    prompts: &[(Vec<TokenId>, TokenId)],
    means: Option<&[Vec<f32>]>,
    progress: &mut dyn FnMut(usize),
) -> Result<Mediation, ModelError> {
    let config = model.config();
    let replacement = if means.is_some() { Replacement::Given } else { Replacement::Zero };
    let mut whole = vec![0.0; prompts.len()];
    let mut replaced = vec![vec![0.0; prompts.len()]; config.n_layer * config.n_head];
    let mut done = 0;
    for (tokens, group) in by_length(prompts) {
        let room = (BATCH_ROWS / (tokens * config.n_head).max(1)).clamp(1, group.len());
        let mut effects = model.head_effects(room, tokens, replacement)?;
        for chunk in group.chunks(room) {
            let ids: Vec<Vec<TokenId>> = chunk.iter().map(|at| prompts[*at].0.clone()).collect();
            effects.run(&ids, means, |number, head, logits| {
                let at = chunk[number];
                let probability = probability(logits, prompts[at].1);
                match head {
                    None => whole[at] = probability,
                    Some(Head { layer, head }) => replaced[layer * config.n_head + head][at] = probability,
                }
            })?;
            done += chunk.len();
            progress(done);
        }
    }
    let effect = |(at, replaced): (usize, &Vec<f64>)| {
        let effects: Vec<f64> =
            replaced.iter().zip(&whole).map(|(replaced, whole)| replaced - whole).collect();
        let Statistic { mean, std } = Statistic::of(&effects);
        HeadEffect { layer: at / config.n_head, head: at % config.n_head, indirect_effect: mean, std }
    };
    Ok(Mediation {
        ablation: if means.is_some() { Ablation::Mean } else { Ablation::Zero },
        target_probability: Statistic::of(&whole),
        heads: replaced.iter().enumerate().map(effect).collect(),
    })
}

/// softmax(logits)[target], summed in f64; 0 where the target is outside the vocabulary.
fn probability(logits: &[f32], target: TokenId) -> f64 {
    let Some(own) = logits.get(target.0 as usize) else { return 0.0 };
    let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, logit| largest.max(*logit));
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    f64::from(own - largest).exp() / sum
}
