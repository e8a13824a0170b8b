//! The ways of editing side by side, each at its best.

use super::{Case, EditPlan, EvaluationRow, Measures, Scores, evaluate};
use retrograd_formats::{Layer, LinearKind, LinearLayer};
use retrograd_model::{Gpt2, ModelError};
use std::ops::ControlFlow;

/// A way of editing and the plans among which its best is looked for.
#[derive(Clone, Debug)]
pub struct Contender {
    /// What it is called in a table.
    pub name: &'static str,
    /// Layers and step sizes to choose from.
    pub plans: Vec<EditPlan>,
}

/// Efficacy from which on the other scores decide.
pub const EFFECTIVE: f64 = 0.95;

/// Steps of fine-tuning at most.
const FINE_TUNING_STEPS: usize = 10;

/// The three of the paper's table: fine-tuning one block's MLP with several steps, one step of sgd on every
/// MLP, and the forward pass shift of one layer.
pub fn contenders(n_layer: usize) -> Vec<Contender> {
    let mlp = |block: usize| {
        [LinearKind::Fc, LinearKind::MlpProj].map(|kind| LinearLayer::Block(Layer(block), kind))
    };
    let all: Vec<LinearLayer> = (0..n_layer).flat_map(mlp).collect();
    let fine_tuning = |block, eta| EditPlan {
        steps: FINE_TUNING_STEPS,
        stop_on_success: true,
        ..EditPlan::sgd(mlp(block).to_vec(), eta)
    };
    let each_layer =
        |etas: &'static [f32]| (0..n_layer).flat_map(move |layer| etas.iter().map(move |eta| (layer, *eta)));
    vec![
        Contender {
            name: "fine-tuning, one MLP",
            plans: each_layer(&[0.02, 0.05, 0.1, 0.2]).map(|(layer, eta)| fine_tuning(layer, eta)).collect(),
        },
        Contender {
            name: "sgd, one step, all MLPs",
            plans: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0].map(|eta| EditPlan::sgd(all.clone(), eta)).to_vec(),
        },
        Contender {
            name: "forward pass shift",
            plans: each_layer(&super::DEFAULT_ETAS).map(|(layer, eta)| EditPlan::shift(layer, eta)).collect(),
        },
    ]
}

/// Whether the first is the better result: efficacy first, up to [`EFFECTIVE`]; from there the harmonic mean.
fn better(a: &Scores, b: &Scores) -> bool {
    let effective = |scores: &Scores| scores.efficacy >= EFFECTIVE;
    match (effective(a), effective(b)) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => a.score.unwrap_or(0.0) > b.score.unwrap_or(0.0),
        (false, false) => a.efficacy > b.efficacy,
    }
}

/// The best of several results; of equals the first.
pub fn best(scores: &[Scores]) -> Option<usize> {
    (0..scores.len()).reduce(|best, at| if better(&scores[at], &scores[best]) { at } else { best })
}

/// Evaluates every plan on the cases, answers only. `on_plan` is told how many are done and may end it; `None` then.
pub fn sweep_cases(
    model: &Gpt2,
    cases: &[Case],
    plans: &[EditPlan],
    mut on_plan: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Vec<Scores>>, ModelError> {
    let answers = Measures { generate: 0, generations: 0, text: None };
    let mut rows = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        let Some(scores) = evaluate(model, cases, Some(plan), &answers, |_| ControlFlow::Continue(()))?
        else {
            return Ok(None);
        };
        rows.push(scores);
        if on_plan(at + 1).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(rows))
}

/// The comparison: each contender's plan is chosen on some cases and measured on others, beside the model as
/// it is. `progress` hears what is being done and may end it; `None` then.
pub fn compare(
    model: &Gpt2,
    (choose_on, cases): (&[Case], &[Case]),
    contenders: &[Contender],
    measures: &Measures,
    mut progress: impl FnMut(&str, usize, usize) -> ControlFlow<()>,
) -> Result<Option<Vec<EvaluationRow>>, ModelError> {
    let all = cases.len();
    let original = evaluate(model, cases, None, measures, |done| progress("original", done, all))?;
    let Some(original) = original else { return Ok(None) };
    let mut rows = vec![EvaluationRow::new("original", None, original)];
    for contender in contenders {
        let Some(scores) = sweep_cases(model, choose_on, &contender.plans, |done| {
            progress(&format!("choosing: {}", contender.name), done, contender.plans.len())
        })?
        else {
            return Ok(None);
        };
        let Some(plan) = best(&scores).map(|at| &contender.plans[at]) else { continue };
        let name = contender.name;
        let measured = evaluate(model, cases, Some(plan), measures, |done| progress(name, done, all))?;
        match measured {
            Some(scores) => rows.push(EvaluationRow::new(name, Some(plan), scores)),
            None => return Ok(None),
        }
    }
    Ok(Some(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(efficacy: f64, score: f64) -> Scores {
        Scores { efficacy, score: Some(score), ..Scores::default() }
    }

    #[test]
    fn efficacy_counts_until_it_is_enough() {
        assert_eq!(best(&[scores(0.5, 0.9), scores(0.8, 0.1), scores(0.8, 0.2)]), Some(1));
        assert_eq!(
            best(&[scores(0.9, 0.9), scores(0.95, 0.3), scores(1.0, 0.2), scores(0.96, 0.4)]),
            Some(3)
        );
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn the_contenders_fit_their_model() {
        for contender in contenders(3) {
            assert!(!contender.plans.is_empty());
            assert!(contender.plans.iter().all(|plan| plan.blocks().iter().all(|block| *block < 3)));
        }
    }
}
