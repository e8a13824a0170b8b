//! Each weight gradient of a trace against central differences of the oracle's loss: what no closed form entered.

use super::gradients::{gradient, parameters};
use super::subject::Subject;
use crate::random::Random;
use crate::report::{Finding, Report, Section};
use crate::rounding::{DEVIATIONS, Rounding};
use retrograd_formats::{Objective, RequestError, ResolvedObjective, TokenId, TraceRead, TraceRequest};
use retrograd_reference::{ReferenceModel, ops};

/// Models with more parameters than this take minutes: two losses in f64 for each of their tensors.
pub(super) const MOST_PARAMETERS: usize = 4_000_000;

/// What a difference of f64 losses leaves of its digits.
const FLOOR: f64 = 1e-7;

/// Compares the slope of the loss along a random ±1 in all elements of a parameter with the gradient's, for each
/// parameter, relative to the gradient's norm.
pub(super) fn compare(
    trace: &dyn TraceRead,
    subject: &Subject,
    request: &TraceRequest,
    case: &str,
    report: &mut Report,
) -> Result<(), RequestError> {
    let objective = request.resolve(subject.oracle.config())?;
    let mut model = subject.oracle.clone();
    let expected = subject.gradients(|model| Ok(model.weight_gradients(request)?.1))?;
    for (at, name) in parameters(&subject.oracle).into_iter().enumerate() {
        let found = gradient(trace, &name)?;
        let norm = found.iter().map(|g| g * g).sum::<f64>().sqrt();
        let mut random = Random::new(at as u64);
        let signs: Vec<f64> = found.iter().map(|_| random.sign()).collect();
        let along: f64 = found.iter().zip(&signs).map(|(g, s)| g * s).sum();
        // So far that the loss moves by about a thousandth, or no farther than weights are small.
        let h = (1e-3 / norm.max(1e-3)).min(1e-3);
        let mut at_distance = |steps: f64| {
            shift(&mut model, &name, &signs, steps * h);
            let loss = loss(&model, &request.ids, &objective);
            shift(&mut model, &name, &signs, -steps * h);
            loss
        };
        let near = at_distance(1.0)? - at_distance(-1.0)?;
        let far = at_distance(2.0)? - at_distance(-2.0)?;
        // Two central differences, so that what is left of the third derivative cancels.
        let slope = (8.0 * near - far) / (12.0 * h);
        let change = expected.get(&name).map_or(0.0, |(_, change)| *change);
        let rounding = Rounding { expected: change, at_least: norm };
        let allowed = (DEVIATIONS * change).max(FLOOR);
        // Relative to the norm, which a sum over random signs has the size of.
        let finding = Finding::slope(format!("{name}{case}"), along, slope, rounding, allowed);
        report.add(Section::Differences, kind(&name), finding);
    }
    Ok(())
}

/// A parameter's name without its layer.
pub(crate) fn kind(name: &str) -> String {
    let parts = name
        .split('.')
        .filter(|part| part.parse::<usize>().is_err() && *part != "transformer" && *part != "h");
    parts.collect::<Vec<_>>().join(".")
}

fn shift(model: &mut ReferenceModel, name: &str, direction: &[f64], distance: f64) {
    for (_, values) in model.parameters_mut().filter(|(other, _)| *other == name) {
        values.iter_mut().zip(direction).for_each(|(value, d)| *value += distance * d);
    }
}

/// The oracle's loss, forward only.
fn loss(model: &ReferenceModel, ids: &[TokenId], objective: &ResolvedObjective) -> Result<f64, RequestError> {
    let v = model.config().vocab_size;
    let logits = model.forward(ids)?; // (T, V)
    let rows = &logits[objective.first_position * v..][..objective.count * v]; // (P, V)
    Ok(match &objective.objective {
        Objective::LogitDifference { token, minus } => rows[minus.0 as usize] - rows[token.0 as usize],
        Objective::Delta { delta, .. } => rows.iter().zip(delta).map(|(l, d)| l * f64::from(*d)).sum(),
        _ => {
            let targets: Vec<u32> = objective.targets.iter().map(|id| id.0).collect();
            ops::cross_entropy(rows, &targets, objective.count, v).loss
        }
    })
}
