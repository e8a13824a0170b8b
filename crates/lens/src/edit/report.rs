//! What an edit did, as a document.

use super::{Cost, EditPlan, Effect, Fact, Outcome};
use crate::{TokenText, token_texts};
use retrograd_formats::{TokenId, Tokenizer};
use retrograd_model::WeightChange;
use serde::Serialize;
use std::collections::BTreeMap;

/// One edit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EditEntry {
    /// The tokens of the prompt.
    pub tokens: Vec<TokenText>,
    /// The target: the first token of the answer.
    pub target: TokenText,
    /// The tokens of the answer, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_tokens: Vec<TokenText>,
    /// `sgd` or `shift`.
    pub method: &'static str,
    /// The blocks that were changed.
    pub layers: Vec<usize>,
    /// η
    pub eta: f32,
    /// Steps that were made: 0 where the target was the answer already.
    pub steps: usize,
    /// The model's answer before.
    pub before: Effect,
    /// The model's answer after.
    pub after: Effect,
    /// ‖ΔW‖ (Frobenius) of every weight that was changed, by name; of several edits, of all so far together.
    pub delta_norms: BTreeMap<String, f64>,
    /// Passes and time.
    pub cost: Cost,
}

/// The document of `retrograd edit --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EditReport {
    /// `retrograd-edit/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The edit.
    #[serde(flatten)]
    pub edit: EditEntry,
    /// The directory that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
}

/// The document of `retrograd edit --edits FILE --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EditsReport {
    /// `retrograd-edits/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The edits in their order, each on top of those before.
    pub edits: Vec<EditEntry>,
    /// What the model says to each prompt after the last edit.
    pub finally: Vec<Effect>,
    /// The directory that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
}

/// Puts together what is known about an edit.
pub fn edit_entry(
    fact: &Fact,
    plan: &EditPlan,
    outcome: Outcome,
    changes: &[WeightChange],
    tokenizer: Option<&Tokenizer>,
) -> EditEntry {
    let several = if fact.target.len() > 1 { &fact.target[..] } else { &[] };
    let target = fact.target.first().copied().unwrap_or(TokenId(0));
    EditEntry {
        tokens: token_texts(&fact.prompt, tokenizer),
        target: TokenText::new(target, tokenizer),
        target_tokens: token_texts(several, tokenizer),
        method: plan.method.name(),
        layers: plan.blocks(),
        eta: plan.eta,
        steps: outcome.steps,
        before: outcome.before,
        after: outcome.after,
        delta_norms: changes.iter().map(|change| (change.name.clone(), change.norm)).collect(),
        cost: outcome.cost,
    }
}
