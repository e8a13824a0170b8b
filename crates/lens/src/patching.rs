//! Attention patching with mean maps: `A_h ← A_h + α·M_h`, M the mean Reversed Attention of training prompts.

use crate::accuracy::Tally;
use crate::maps::LayoutMaps;
use crate::{Accuracy, TaskMaps, TaskPrompt, TokenText};
use retrograd_formats::{AttentionPatch, Head, PatchMap, RequestError};
use retrograd_model::{Gpt2, ModelError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Rows of a batch.
const BATCH_ROWS: usize = 2048;

/// Factors from +3 to −120, as wide as the authors sweep: for reversed maps a negative one descends the loss.
pub const DEFAULT_ALPHAS: [f32; 17] = [
    3.0, 1.0, 0.3, 0.0, -0.3, -1.0, -2.0, -3.0, -5.0, -8.0, -12.0, -20.0, -30.0, -45.0, -65.0, -90.0, -120.0,
];

/// Accuracy under one factor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchPoint {
    /// Demonstrations before the question.
    pub shots: usize,
    /// Which mean maps were added.
    #[serde(with = "map_name")]
    pub map: PatchMap,
    /// α; 0 is the model as it is.
    pub alpha: f32,
    /// On the validation part, by which α is chosen.
    pub validation: Accuracy,
    /// On the test part.
    pub accuracy: Accuracy,
}

/// The factor that the validation part chooses, and what it is worth on the test part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestPatch {
    /// Demonstrations before the question.
    pub shots: usize,
    /// Which mean maps were added.
    #[serde(with = "map_name")]
    pub map: PatchMap,
    /// The chosen α.
    pub alpha: f32,
    /// On the test part without a patch.
    pub before: Accuracy,
    /// On the test part with it.
    pub after: Accuracy,
}

mod map_name {
    use retrograd_formats::PatchMap;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(map: &PatchMap, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(map.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PatchMap, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "reversed" => Ok(PatchMap::Reversed),
            "forward" => Ok(PatchMap::Forward),
            other => Err(serde::de::Error::custom(format!("'{other}' is neither reversed nor forward"))),
        }
    }
}

/// The document of `retrograd patch --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PatchReport {
    /// `retrograd-patch/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The tokens of the first test prompt.
    pub tokens: Vec<TokenText>,
    /// The task and how its prompts were made.
    pub task: serde_json::Value,
    /// Prompts of the validation part and of the test part, for each number of shots.
    pub prompts: [usize; 2],
    /// Every factor.
    pub sweep: Vec<PatchPoint>,
    /// The chosen ones.
    pub best: Vec<BestPatch>,
}

/// Accuracy on the prompts under each factor.
///
/// # Errors
/// When α is not finite, or no mean map has the layout of a prompt: maps of other positions would be added.
pub fn patch_accuracy(
    model: &Gpt2,
    maps: &TaskMaps,
    map: PatchMap,
    heads: Option<&BTreeSet<Head>>,
    prompts: &[TaskPrompt],
    alphas: &[f32],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Accuracy>, ModelError> {
    if let Some(alpha) = alphas.iter().find(|alpha| !alpha.is_finite()) {
        return Err(RequestError::invalid("alpha", format!("{alpha} is not a finite number")).into());
    }
    let mut tallies = vec![Tally::default(); alphas.len()];
    let mut done = 0;
    for group in crate::task::by_layout(prompts) {
        let first = &prompts[group[0]];
        let means = means_for(maps, first)?;
        let tokens = first.ids.len();
        let room = (BATCH_ROWS / tokens).clamp(1, group.len());
        let patch = mean_patch(model, means, map, heads, tokens);
        let mut batch = model.forward_batch(room, tokens, Some(&patch))?;
        for chunk in group.chunks(room) {
            batch.set_tokens(&chunk.iter().map(|at| prompts[*at].ids.clone()).collect::<Vec<_>>())?;
            for (alpha, tally) in alphas.iter().zip(&mut tallies) {
                batch.set_alpha(&vec![*alpha; room])?;
                for (at, logits) in chunk.iter().zip(batch.logits()?) {
                    tally.add(&logits, prompts[*at].target());
                }
                done += chunk.len();
                progress(done);
            }
        }
    }
    Ok(tallies.iter().map(Tally::accuracy).collect())
}

/// A patch of mean maps for prompts of so many tokens.
pub fn mean_patch(
    model: &Gpt2,
    means: &LayoutMaps,
    map: PatchMap,
    heads: Option<&BTreeSet<Head>>,
    tokens: usize,
) -> AttentionPatch {
    let wanted = |layer: &usize| heads.is_none_or(|heads| heads.iter().any(|head| head.layer == *layer));
    let layers = (0..model.config().n_layer).filter(wanted);
    let maps = layers.map(|layer| (layer, means.cropped(map, layer, tokens))).collect();
    AttentionPatch { alpha: 0.0, maps, heads: heads.cloned() }
}

/// The means over prompts that have the same things at the same positions.
fn means_for<'a>(maps: &'a TaskMaps, prompt: &TaskPrompt) -> Result<&'a LayoutMaps, RequestError> {
    let fits = |means: &&LayoutMaps| means.layout == prompt.layout && means.prompt_tokens == prompt.ids.len();
    maps.layouts.iter().find(fits).ok_or_else(|| {
        let known: Vec<String> = maps.layouts.iter().take(3).map(|means| format!("{:?}", means.layout)).collect();
        RequestError::invalid(
            "patch",
            format!(
                "no training prompt has its words at the positions of a prompt with {} tokens (tokens of inputs and \
                 outputs {:?}; means there are for {}): a mean over other positions would mean nothing",
                prompt.ids.len(),
                prompt.layout,
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            ),
        )
    })
}

/// The prompts for whose layout there are means, and how many there are not.
pub fn aligned(maps: &TaskMaps, prompts: Vec<TaskPrompt>) -> (Vec<TaskPrompt>, usize) {
    let all = prompts.len();
    let kept: Vec<TaskPrompt> =
        prompts.into_iter().filter(|prompt| means_for(maps, prompt).is_ok()).collect();
    let left_out = all - kept.len();
    (kept, left_out)
}

/// For each number of shots and each kind of map the factor with the best top-1 accuracy on the validation part; of equals
/// the one with the best top-2, then top-3, then the smallest |α|.
pub fn best_patches(sweep: &[PatchPoint]) -> Vec<BestPatch> {
    let mut best: Vec<BestPatch> = Vec::new();
    for point in sweep {
        if best.iter().any(|chosen| chosen.shots == point.shots && chosen.map == point.map) {
            continue;
        }
        let family = sweep.iter().filter(|other| other.shots == point.shots && other.map == point.map);
        let score = |point: &&PatchPoint| {
            let Accuracy { top1, top2, top3 } = point.validation;
            [top1, top2, top3, -f64::from(point.alpha.abs())]
        };
        let order = |a: &[f64; 4], b: &[f64; 4]| {
            a.iter()
                .zip(b)
                .map(|(a, b)| a.total_cmp(b))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        };
        let Some(chosen) = family.clone().max_by(|a, b| order(&score(a), &score(b))) else { continue };
        let unpatched = family.clone().find(|point| point.alpha == 0.0);
        best.push(BestPatch {
            shots: point.shots,
            map: point.map,
            alpha: chosen.alpha,
            before: unpatched.map_or(chosen.accuracy, |point| point.accuracy),
            after: chosen.accuracy,
        });
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validation_part_chooses() {
        let point = |map, alpha, validation, test| PatchPoint {
            shots: 0,
            map,
            alpha,
            validation: Accuracy { top1: validation, ..Accuracy::default() },
            accuracy: Accuracy { top1: test, ..Accuracy::default() },
        };
        let (r, a) = (PatchMap::Reversed, PatchMap::Forward);
        let sweep = [
            point(r, 0.0, 0.2, 0.2),
            point(r, -3.0, 0.6, 0.5),
            point(r, -5.0, 0.6, 0.9),
            point(r, -9.0, 0.5, 1.0),
            point(a, 0.0, 0.2, 0.2),
            point(a, 1.0, 0.1, 0.3),
        ];
        let best = best_patches(&sweep);
        assert_eq!(best.len(), 2);
        assert_eq!((best[0].alpha, best[0].before.top1, best[0].after.top1), (-3.0, 0.2, 0.5));
        assert_eq!((best[1].map, best[1].alpha), (PatchMap::Forward, 0.0));
    }
}
