//! The scalar that is differentiated, and its gradient on the logits.

use crate::ops::{CrossEntropy, cross_entropy};
use retrograd_formats::{Objective, RequestError, ResolvedObjective};

/// L and δ_logits = ∂L/∂logits (P, V) for the logits (P, V) of the positions that carry loss.
pub(crate) fn loss_and_delta(
    resolved: &ResolvedObjective,
    logits: &[f64],
    v: usize,
) -> Result<(f64, Vec<f64>), RequestError> {
    match &resolved.objective {
        // L = mean of −log softmax(logits)[target]
        Objective::Target(_) | Objective::Completion { .. } | Objective::NextToken => {
            let targets: Vec<u32> = resolved.targets.iter().map(|target| target.0).collect(); // (P)
            let CrossEntropy { loss, delta } = cross_entropy(logits, &targets, resolved.count, v);
            Ok((loss, delta))
        }
        // L = logits[minus] − logits[token]
        Objective::LogitDifference { token, minus } => {
            let (token, minus) = (token.0 as usize, minus.0 as usize);
            let mut delta = vec![0.0; v]; // (1, V)
            delta[minus] += 1.0;
            delta[token] -= 1.0;
            Ok((logits[minus] - logits[token], delta))
        }
        // L = Σ δ ⊙ logits
        Objective::Delta { delta, .. } => {
            let delta: Vec<f64> = delta.iter().map(|&delta| f64::from(delta)).collect(); // (P, V)
            Ok((delta.iter().zip(logits).map(|(delta, logit)| delta * logit).sum(), delta))
        }
        other => Err(RequestError::invalid(
            "objective",
            format!(
                "{other:?} is unknown to the f64 reference; use one of target, completion, next token, logit difference, delta"
            ),
        )),
    }
}
