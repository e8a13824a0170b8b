//! A method of editing on a whole CounterFact file: every fact edited in, everything asked, the weights restored.

use super::apply::write;
use super::case::{CaseScores, mean, measure};
use super::{Case, Cost, EditPlan, Measures};
use retrograd_formats::{Objective, RequestError, TokenId, TraceRequest};
use retrograd_model::{Gpt2, ModelError};
use serde::Serialize;
use std::ops::ControlFlow;

/// Means over the records of a file; see [`CaseScores`] for each.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Records that were measured.
    pub records: usize,
    /// Share of records with P(new) > P(true).
    pub efficacy: f64,
    /// Share of records whose new answer is the model's answer.
    pub efficacy_argmax: f64,
    /// Mean P(new) − P(true).
    pub magnitude: f64,
    /// The same as efficacy, after other words.
    pub paraphrase: Option<f64>,
    /// The same as its argmax, after other words.
    pub paraphrase_argmax: Option<f64>,
    /// Share of neighbours whose own answer is more probable than the new one.
    pub neighbourhood: Option<f64>,
    /// Share of neighbours whose own answer is the model's answer.
    pub neighbourhood_argmax: Option<f64>,
    /// Harmonic mean of efficacy, paraphrase and neighbourhood.
    pub score: Option<f64>,
    /// Weighted 2- and 3-gram entropy of generated text, in bits.
    pub entropy: Option<f64>,
    /// Perplexity of the text, mean over the edits.
    pub perplexity: Option<f64>,
    /// Mean seconds of one edit.
    pub edit_seconds: f64,
    /// Mean forward passes of one edit.
    pub forward_passes: f64,
    /// Mean backward passes of one edit.
    pub backward_passes: f64,
}

/// One row of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationRow {
    /// What it is called in a table.
    pub name: String,
    /// `sgd`, `shift`, or none for the model as it is.
    pub method: Option<&'static str>,
    /// The linear layers that are changed.
    pub params: Vec<String>,
    /// Their blocks.
    pub layers: Vec<usize>,
    /// η
    pub eta: Option<f32>,
    /// Steps at most.
    pub steps: Option<usize>,
    /// What was measured.
    #[serde(flatten)]
    pub scores: Scores,
}

impl EvaluationRow {
    /// The scores of a plan, or of the model as it is, under a name.
    pub fn new(name: impl Into<String>, plan: Option<&EditPlan>, scores: Scores) -> Self {
        EvaluationRow {
            name: name.into(),
            method: plan.map(|plan| plan.method.name()),
            params: plan.iter().flat_map(|plan| plan.layers()).map(|layer| layer.to_string()).collect(),
            layers: plan.map(EditPlan::blocks).unwrap_or_default(),
            eta: plan.map(|plan| plan.eta),
            steps: plan.map(|plan| plan.steps),
            scores,
        }
    }
}

/// The document of `retrograd edit --evaluate` and `--compare` with `--json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// `retrograd-edit-evaluation/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The CounterFact file.
    pub file: String,
    /// Records on which step sizes and layers were chosen; they are not among those that were measured.
    pub chosen_on: usize,
    /// One for each way of editing.
    pub rows: Vec<EvaluationRow>,
}

/// Edits each case into the model on its own, asks everything, and restores the weights. Without a plan the
/// model is asked as it is. `on_case` is told how many cases are done and may end it; `None` then.
pub fn evaluate(
    model: &Gpt2,
    cases: &[Case],
    plan: Option<&EditPlan>,
    measures: &Measures,
    mut on_case: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Scores>, ModelError> {
    if let Some(plan) = plan {
        plan.check(model.config())?;
    }
    let mut edit = model.edit()?;
    let (mut all, mut costs) = (Vec::new(), Vec::new());
    let mut text = None;
    for case in cases {
        // An unedited model says the same to the text each time.
        let repeated = plan.is_none() && text.is_some();
        let measures = Measures { text: measures.text.clone().filter(|_| !repeated), ..measures.clone() };
        let named = |error: ModelError| match error {
            ModelError::Request(error) => {
                RequestError::invalid(format!("case_id {}", case.id), error.to_string()).into()
            }
            other => other,
        };
        if let Some(plan) = plan {
            costs.push(write(&mut edit, &case.fact, plan).map_err(named)?.2);
        }
        let mut scores = measure(model, case, &measures).map_err(named)?;
        if repeated {
            scores.perplexity = text;
        } else if plan.is_none() {
            text = scores.perplexity;
        }
        all.push(scores);
        edit.restore()?;
        if on_case(all.len()).is_break() {
            return Ok(None);
        }
    }
    Ok(Some(Scores::new(&all, &costs)))
}

impl Scores {
    fn new(all: &[CaseScores], costs: &[Cost]) -> Self {
        let over =
            |score: fn(&CaseScores) -> Option<f64>| mean(&all.iter().filter_map(score).collect::<Vec<_>>());
        let cost = |part: fn(&Cost) -> f64| mean(&costs.iter().map(part).collect::<Vec<_>>()).unwrap_or(0.0);
        let mut scores = Scores {
            records: all.len(),
            efficacy: over(|case| Some(case.efficacy)).unwrap_or(0.0),
            efficacy_argmax: over(|case| Some(case.efficacy_argmax)).unwrap_or(0.0),
            magnitude: over(|case| Some(case.magnitude)).unwrap_or(0.0),
            paraphrase: over(|case| case.paraphrase),
            paraphrase_argmax: over(|case| case.paraphrase_argmax),
            neighbourhood: over(|case| case.neighbourhood),
            neighbourhood_argmax: over(|case| case.neighbourhood_argmax),
            score: None,
            entropy: over(|case| case.entropy),
            perplexity: over(|case| case.perplexity),
            edit_seconds: cost(|cost| cost.seconds),
            forward_passes: cost(|cost| cost.forward_passes as f64),
            backward_passes: cost(|cost| cost.backward_passes as f64),
        };
        if let (Some(paraphrase), Some(neighbourhood)) = (scores.paraphrase, scores.neighbourhood) {
            let parts = [scores.efficacy, paraphrase, neighbourhood];
            // 0 where one of them is 0.
            scores.score = Some(3.0 / parts.iter().map(|part| 1.0 / part).sum::<f64>());
        }
        scores
    }
}

/// exp of the mean loss of every next token of a text, in windows of the model's length that do not overlap.
///
/// # Errors
/// When the text has fewer than two tokens.
pub fn perplexity(model: &Gpt2, text: &[TokenId]) -> Result<f64, ModelError> {
    let (mut total, mut count) = (0.0, 0);
    for window in text.chunks(model.config().n_positions).filter(|window| window.len() > 1) {
        let loss = model.loss(&TraceRequest::new(window.to_vec(), Objective::NextToken))?;
        total += f64::from(loss) * (window.len() - 1) as f64;
        count += window.len() - 1;
    }
    if count == 0 {
        return Err(RequestError::invalid("text", "needs at least two tokens for a perplexity").into());
    }
    Ok((total / count as f64).exp())
}
