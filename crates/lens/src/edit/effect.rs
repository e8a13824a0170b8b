//! What a model says to a prompt, seen from a target.

use crate::Prediction;
use crate::probability::Distribution;
use retrograd_formats::{RequestError, TokenId, Tokenizer};
use serde::Serialize;

/// The model's answer to a prompt and where the target stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// softmax(logits) of the target.
    pub target_probability: f64,
    /// Number of tokens that are strictly more probable: 0 is the most probable.
    pub target_rank: usize,
    /// The most probable token.
    pub answer: Prediction,
}

impl Effect {
    /// From the logits `[V]` after a prompt.
    ///
    /// # Errors
    /// When a logit is not finite: an edit was too large.
    pub fn new(logits: &[f32], target: TokenId, tokenizer: Option<&Tokenizer>) -> Result<Self, RequestError> {
        if logits.get(target.0 as usize).is_none() {
            let reason = format!("token id {target} is outside the vocabulary of {}", logits.len());
            return Err(RequestError::invalid("target", reason));
        }
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(RequestError::invalid(
                "eta",
                "is too large: the edited model's logits are not finite",
            ));
        }
        let row = Distribution::new(logits);
        let target = row.target(target, tokenizer);
        let answer = row.top(1, tokenizer).pop();
        Ok(Effect {
            target_probability: target.probability,
            target_rank: target.rank,
            answer: answer.ok_or_else(|| RequestError::invalid("logits", "there are none"))?,
        })
    }

    /// Whether the target is the answer: no token is more probable.
    pub fn is_success(&self) -> bool {
        self.target_rank == 0
    }
}
