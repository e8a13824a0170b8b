//! Many plans on the same facts, each undone before the next.

use super::apply::Factors;
use super::{EditPlan, Effect, Fact};
use retrograd_formats::{Interventions, LinearLayer};
use retrograd_model::{ModelError, WeightEdit};
use serde::Serialize;
use std::ops::ControlFlow;

/// Step sizes that are tried where nobody says which.
pub const DEFAULT_ETAS: [f32; 10] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// What one plan did to the facts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepRow {
    /// The blocks that were changed.
    pub layers: Vec<usize>,
    /// η
    pub eta: f32,
    /// Share of the facts whose target became the answer.
    pub success: f64,
    /// Mean probability of the target.
    pub target_probability: f64,
    /// Mean of ‖ΔW‖/‖W‖, of the weight that changed most.
    pub relative_change: f64,
}

/// The document of `retrograd edit --sweep --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepReport {
    /// `retrograd-edit-sweep/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// `sgd` or `shift`.
    pub method: &'static str,
    /// Facts that were tried.
    pub facts: usize,
    /// One for each plan.
    pub rows: Vec<SweepRow>,
    /// The row that `auto` takes.
    pub best: Option<usize>,
}

/// Tries each plan on each fact; every weight is restored after each. The plans share one method. `on_plan` is
/// told how many were tried and may end it all; what was not tried on every fact is left out then.
pub fn sweep(
    edit: &mut WeightEdit,
    facts: &[Fact],
    plans: &[EditPlan],
    mut on_plan: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<SweepRow>, ModelError> {
    let model = edit.model().clone();
    let mut layers: Vec<LinearLayer> = Vec::new();
    for plan in plans {
        plan.check(model.config())?;
        layers.extend(plan.layers().into_iter().filter(|layer| !layers.contains(layer)).collect::<Vec<_>>());
    }
    let mut rows: Vec<SweepRow> = plans
        .iter()
        .map(|plan| SweepRow {
            layers: plan.blocks(),
            eta: plan.eta,
            success: 0.0,
            target_probability: 0.0,
            relative_change: 0.0,
        })
        .collect();
    let Some(first) = plans.first() else { return Ok(rows) };
    let share = 1.0 / facts.len().max(1) as f64;
    let mut tried = 0;
    for fact in facts {
        // What the first step writes is the same for all of them: one pass.
        let (factors, _) = Factors::new(&model, fact, &first.method, &layers)?;
        for (plan, row) in plans.iter().zip(&mut rows) {
            factors.step(edit, plan)?;
            for _ in 1..plan.steps {
                Factors::new(&model, fact, &plan.method, &plan.layers())?.0.step(edit, plan)?;
            }
            let logits = model.logits(&fact.prompt, &Interventions::default())?;
            // A step so large that nothing finite is left has not succeeded.
            if let Ok(effect) = Effect::new(&logits, fact.first_target()?, None) {
                row.success += share * f64::from(u8::from(effect.is_success()));
                row.target_probability += share * effect.target_probability;
            }
            let changes = edit.changes()?;
            row.relative_change += share * changes.iter().map(|change| change.relative).fold(0.0, f64::max);
            edit.restore()?;
            tried += 1;
            if on_plan(tried).is_break() {
                return Ok(Vec::new());
            }
        }
    }
    Ok(rows)
}

/// The row that `auto` takes: of those that succeed on the most facts with a mean probability of at least one
/// half, the one that changes its weights least; without any, the one with the highest probability.
pub fn choose(rows: &[SweepRow]) -> Option<usize> {
    let indices = 0..rows.len();
    let most = rows.iter().map(|row| row.success).fold(0.0, f64::max);
    let sure = |at: &usize| most > 0.0 && rows[*at].success >= most && rows[*at].target_probability >= 0.5;
    let least = |a: &usize, b: &usize| rows[*a].relative_change.total_cmp(&rows[*b].relative_change);
    indices.clone().filter(sure).min_by(least).or_else(|| {
        indices.max_by(|a, b| rows[*a].target_probability.total_cmp(&rows[*b].target_probability))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(success: f64, target_probability: f64, relative_change: f64) -> SweepRow {
        SweepRow { layers: vec![0], eta: 1.0, success, target_probability, relative_change }
    }

    #[test]
    fn the_least_change_that_succeeds_is_taken() {
        let rows = [row(0.5, 0.4, 0.1), row(1.0, 0.9, 0.5), row(1.0, 0.6, 0.3), row(1.0, 0.4, 0.2)];
        assert_eq!(choose(&rows), Some(2));
        assert_eq!(choose(&[row(0.0, 0.1, 1.0), row(0.0, 0.2, 2.0)]), Some(1));
        assert_eq!(choose(&[]), None);
    }
}
