//! Perturbation: how much of a task is left when only the first heads of an ordering speak.

use crate::accuracy::Tally;
use crate::mediate::by_length;
use crate::task::{random, shuffle};
use crate::{Accuracy, HeadStatistics, Mediation, Statistic, TaskPrompt};
use retrograd_formats::{Config, Head, RequestError, TokenId};
use retrograd_model::{Gpt2, ModelError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// Rows of a batch.
const BATCH_ROWS: usize = 2048;

/// What heads are ordered by, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderBy {
    /// ‖R‖, mean over the training examples.
    Reversed,
    /// ‖A‖, likewise.
    Pattern,
    /// Causal mediation: how much silencing the head lowers the target's probability.
    Mediation,
    /// |Σ A ⊙ ∂L/∂A|: attribution patching, the same question to first order, from the pass that gives R.
    Attribution,
    /// By chance, several draws.
    Random,
    /// The order of the model.
    Index,
}

impl OrderBy {
    /// All of them, in the order of a legend.
    pub const ALL: [OrderBy; 6] = [
        OrderBy::Reversed,
        OrderBy::Mediation,
        OrderBy::Attribution,
        OrderBy::Pattern,
        OrderBy::Index,
        OrderBy::Random,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            OrderBy::Reversed => "reversed",
            OrderBy::Pattern => "pattern",
            OrderBy::Mediation => "mediation",
            OrderBy::Attribution => "attribution",
            OrderBy::Random => "random",
            OrderBy::Index => "index",
        }
    }
}

impl FromStr for OrderBy {
    type Err = RequestError;

    fn from_str(name: &str) -> Result<Self, RequestError> {
        OrderBy::ALL.into_iter().find(|order| order.name() == name).ok_or_else(|| {
            let names = OrderBy::ALL.map(OrderBy::name).join(", ");
            RequestError::invalid("ordering", format!("there is no '{name}'; choose from {names}"))
        })
    }
}

/// Every head of a model, in its order.
pub fn all_heads(config: &Config) -> Vec<Head> {
    (0..config.n_layer).flat_map(|layer| (0..config.n_head).map(move |head| Head { layer, head })).collect()
}

/// Heads by descending score; equal ones stay in the order of the model.
pub fn descending(scores: impl IntoIterator<Item = (Head, f64)>) -> Vec<Head> {
    let mut scores: Vec<(Head, f64)> = scores.into_iter().collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1));
    scores.into_iter().map(|(head, _)| head).collect()
}

/// The heads by what a task's passes measured. `None` for an ordering that needs something else.
pub fn order_by_size(heads: &[HeadStatistics], order: OrderBy) -> Option<Vec<Head>> {
    let score = |head: &HeadStatistics| match order {
        OrderBy::Reversed => Some(head.reversed_norm.mean),
        OrderBy::Pattern => Some(head.pattern_norm.mean),
        OrderBy::Attribution => Some(head.attribution.mean.abs()),
        _ => None,
    };
    heads.iter().map(|head| Some((head.id(), score(head)?))).collect::<Option<Vec<_>>>().map(descending)
}

/// The heads by their effect, the most important first.
pub fn order_by_effect(mediation: &Mediation) -> Vec<Head> {
    descending(mediation.heads.iter().map(|effect| (effect.id(), mediation.importance(effect))))
}

/// The heads by chance.
pub fn order_by_chance(config: &Config, seed: u64, draw: usize) -> Vec<Head> {
    let mut heads = all_heads(config);
    shuffle(&mut heads, &mut random(seed, &format!("order of heads {draw}")));
    heads
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptPoint {
    /// Share of the heads that speak.
    pub kept_fraction: f64,
    /// What is left of the task.
    pub accuracy: Accuracy,
}

/// The document of `retrograd perturb --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PerturbReport {
    /// `retrograd-perturb/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The tokens of the first prompt.
    pub tokens: Vec<crate::TokenText>,
    /// The task and how its prompts were made.
    pub task: serde_json::Value,
    /// Prompts that accuracies are shares of.
    pub prompts: usize,
    /// Curves.
    #[serde(flatten)]
    pub curves: PerturbCurves,
}

/// The curves of all orderings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerturbCurves {
    /// The most important heads kept; of random orderings the mean.
    pub orderings: BTreeMap<String, Vec<KeptPoint>>,
    /// The least important heads kept.
    pub reverse: BTreeMap<String, Vec<KeptPoint>>,
    /// Area under the top-1 curve of each ordering, 0 to 1.
    pub auc: BTreeMap<String, f64>,
    /// The same of the reverse orders.
    pub reverse_auc: BTreeMap<String, f64>,
    /// Mean and standard deviation of the areas of the random draws.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_auc: Option<Statistic>,
    /// The areas of the random draws.
    pub random_draws: Vec<f64>,
}

/// Accuracy on the prompts with the first heads of the ordering kept and the others silenced, for each share.
///
/// # Errors
/// When a prompt does not fit the model.
pub fn perturb(
    model: &Gpt2,
    prompts: &[TaskPrompt],
    orders: &[Vec<Head>],
    fractions: &[f64],
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<KeptPoint>>, ModelError> {
    let given: Vec<(Vec<TokenId>, TokenId)> = prompts.iter().map(|p| (p.ids.clone(), p.target())).collect();
    let mut tallies = vec![vec![Tally::default(); fractions.len()]; orders.len()];
    let total_heads = all_heads(model.config());
    let mut done = 0;
    for (tokens, group) in by_length(&given) {
        let room = (BATCH_ROWS / tokens).clamp(1, group.len());
        let mut batch = model.forward_batch(room, tokens, None)?;
        for chunk in group.chunks(room) {
            let ids: Vec<Vec<TokenId>> = chunk.iter().map(|at| given[*at].0.clone()).collect();
            batch.set_tokens(&ids)?;
            // Orders agree where all or none speak.
            let mut seen: BTreeMap<BTreeSet<Head>, Vec<Vec<f32>>> = BTreeMap::new();
            for (order, tallies) in orders.iter().zip(&mut tallies) {
                for (fraction, tally) in fractions.iter().zip(tallies) {
                    let kept = (fraction * total_heads.len() as f64).round() as usize;
                    let silenced: BTreeSet<Head> = order.iter().skip(kept).copied().collect();
                    if !seen.contains_key(&silenced) {
                        batch.silence(&silenced)?;
                        seen.insert(silenced.clone(), batch.logits()?);
                    }
                    for (at, logits) in chunk.iter().zip(&seen[&silenced]) {
                        tally.add(logits, given[*at].1);
                    }
                    done += chunk.len();
                    progress(done);
                    if seen.len() > MOST_REMEMBERED {
                        seen.retain(|set, _| set.is_empty() || set.len() == total_heads.len());
                    }
                }
            }
        }
    }
    let point = |(fraction, tally): (&f64, &Tally)| KeptPoint {
        kept_fraction: *fraction,
        accuracy: tally.accuracy(),
    };
    Ok(tallies.iter().map(|tallies| fractions.iter().zip(tallies).map(point).collect()).collect())
}

/// Logits of sets of silenced heads that are remembered at a time.
const MOST_REMEMBERED: usize = 16;

/// Area under the top-1 curve by trapezoids, divided by its width.
pub fn area(curve: &[KeptPoint]) -> f64 {
    let width = match (curve.first(), curve.last()) {
        (Some(first), Some(last)) if last.kept_fraction > first.kept_fraction => {
            last.kept_fraction - first.kept_fraction
        }
        _ => return 0.0,
    };
    let trapezoid = |pair: &[KeptPoint]| {
        (pair[1].kept_fraction - pair[0].kept_fraction) * (pair[0].accuracy.top1 + pair[1].accuracy.top1)
            / 2.0
    };
    curve.windows(2).map(trapezoid).sum::<f64>() / width
}

/// The point-wise mean of curves.
fn mean_curve(curves: &[Vec<KeptPoint>]) -> Vec<KeptPoint> {
    let count = curves.len().max(1) as f64;
    let Some(first) = curves.first() else { return Vec::new() };
    let mean = |at: usize, of: fn(&Accuracy) -> f64| {
        curves.iter().map(|curve| of(&curve[at].accuracy)).sum::<f64>() / count
    };
    (0..first.len())
        .map(|at| KeptPoint {
            kept_fraction: first[at].kept_fraction,
            accuracy: Accuracy {
                top1: mean(at, |a| a.top1),
                top2: mean(at, |a| a.top2),
                top3: mean(at, |a| a.top3),
            },
        })
        .collect()
}

/// An ordering whose curve is wanted; random ones come in several draws of one name.
#[derive(Clone, Debug)]
pub struct NamedOrder {
    /// What it is ordered by.
    pub by: OrderBy,
    /// The most important head first.
    pub heads: Vec<Head>,
}

/// The curves of all orderings and of their reverses.
///
/// # Errors
/// As [`perturb`].
pub fn perturb_orderings(
    model: &Gpt2,
    prompts: &[TaskPrompt],
    orders: &[NamedOrder],
    fractions: &[f64],
    progress: &mut dyn FnMut(usize),
) -> Result<PerturbCurves, ModelError> {
    let reversed = |order: &NamedOrder| order.heads.iter().rev().copied().collect::<Vec<Head>>();
    // The reverse of chance is chance.
    let both: Vec<Vec<Head>> = orders
        .iter()
        .map(|order| order.heads.clone())
        .chain(orders.iter().filter(|order| order.by != OrderBy::Random).map(reversed))
        .collect();
    let mut curves = perturb(model, prompts, &both, fractions, progress)?;
    let backward = curves.split_off(orders.len());
    let mut forward: BTreeMap<OrderBy, Vec<Vec<KeptPoint>>> = BTreeMap::new();
    for (order, curve) in orders.iter().zip(curves) {
        forward.entry(order.by).or_default().push(curve);
    }
    let random_draws: Vec<f64> = forward
        .get(&OrderBy::Random)
        .map_or_else(Vec::new, |draws| draws.iter().map(|curve| area(curve)).collect());
    let orderings: BTreeMap<String, Vec<KeptPoint>> =
        forward.into_iter().map(|(by, curves)| (by.name().to_owned(), mean_curve(&curves))).collect();
    let named =
        orders.iter().filter(|order| order.by != OrderBy::Random).map(|order| order.by.name().to_owned());
    let reverse: BTreeMap<String, Vec<KeptPoint>> = named.zip(backward).collect();
    let areas = |curves: &BTreeMap<String, Vec<KeptPoint>>| {
        curves.iter().map(|(name, curve)| (name.clone(), area(curve))).collect()
    };
    Ok(PerturbCurves {
        auc: areas(&orderings),
        reverse_auc: areas(&reverse),
        random_auc: (!random_draws.is_empty()).then(|| Statistic::of(&random_draws)),
        orderings,
        reverse,
        random_draws,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_shares() {
        let point = |kept_fraction, top1| KeptPoint {
            kept_fraction,
            accuracy: Accuracy { top1, ..Accuracy::default() },
        };
        assert_eq!(area(&[point(0.0, 0.0), point(0.5, 1.0), point(1.0, 1.0)]), 0.75);
        assert_eq!(area(&[point(0.0, 1.0)]), 0.0);
        assert_eq!(area(&[]), 0.0);
    }

    #[test]
    fn equal_scores_stay_in_the_order_of_the_model() {
        let head = |layer, head| Head { layer, head };
        let order = descending([(head(0, 0), 1.0), (head(0, 1), 2.0), (head(1, 0), 1.0)]);
        assert_eq!(order, [head(0, 1), head(0, 0), head(1, 0)]);
        assert!("reversed".parse::<OrderBy>().is_ok());
        assert!("size".parse::<OrderBy>().unwrap_err().to_string().contains("choose from reversed"));
    }
}
