//! What the backward pass differentiates.

use crate::{Config, RequestError, TokenId};

/// A scalar function of the logits; its gradient starts the backward pass.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Objective {
    /// −log p(token) at the last position.
    Target(TokenId),
    /// Mean −log p over the tokens from index `start` on; the ids hold prompt and completion.
    Completion {
        /// Index of the completion's first token; at least 1.
        start: usize,
    },
    /// Mean −log p(next token) over all positions but the last.
    NextToken,
    /// logit(minus) − logit(token) at the last position: descending it favours `token`.
    LogitDifference {
        /// The favoured token.
        token: TokenId,
        /// The token it is compared with.
        minus: TokenId,
    },
    /// A caller's own ∂L/∂logits, `[P, V]` row-major, for the positions from `first_position` on.
    /// The reported loss is Σ δ ⊙ logits, the linear function whose gradient δ is.
    Delta {
        /// Position of the first row.
        first_position: usize,
        /// `P · V` numbers.
        delta: Vec<f32>,
    },
}

/// An [`Objective`] checked against a model and a token sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedObjective {
    /// First position that carries loss.
    pub first_position: usize,
    /// Number of positions that carry loss (P), contiguous.
    pub count: usize,
    /// The target of each position, for the three cross-entropy objectives; else empty.
    pub targets: Vec<TokenId>,
    /// The objective itself.
    pub objective: Objective,
}

impl Objective {
    /// Checks the objective against the tokens and the model.
    pub fn resolve(&self, ids: &[TokenId], config: &Config) -> Result<ResolvedObjective, RequestError> {
        let last =
            ids.len().checked_sub(1).ok_or_else(|| RequestError::invalid("tokens", "there are none"))?;
        let in_vocabulary = |what: &str, id: TokenId| {
            if (id.0 as usize) < config.vocab_size {
                Ok(())
            } else {
                Err(RequestError::invalid(
                    what,
                    format!("token id {id} is outside the vocabulary of {}", config.vocab_size),
                ))
            }
        };
        let (first_position, count, targets) = match self {
            Objective::Target(token) => {
                in_vocabulary("target", *token)?;
                (last, 1, vec![*token])
            }
            Objective::Completion { start } => {
                if *start == 0 || *start > last {
                    return Err(RequestError::invalid(
                        "completion",
                        format!(
                            "must start at a token from 1 to {last}, not {start}: prompt and completion need one token each"
                        ),
                    ));
                }
                (start - 1, ids.len() - start, ids[*start..].to_vec())
            }
            Objective::NextToken => {
                if last == 0 {
                    return Err(RequestError::invalid(
                        "next-token loss",
                        "needs at least two tokens: the only one has no next",
                    ));
                }
                (0, last, ids[1..].to_vec())
            }
            Objective::LogitDifference { token, minus } => {
                in_vocabulary("target", *token)?;
                in_vocabulary("distractor", *minus)?;
                (last, 1, Vec::new())
            }
            Objective::Delta { first_position, delta } => {
                let rows = delta.len() / config.vocab_size;
                let end = first_position.checked_add(rows);
                let fits = end.is_some_and(|end| end <= ids.len());
                if rows == 0 || rows * config.vocab_size != delta.len() || !fits {
                    return Err(RequestError::invalid(
                        "delta on the logits",
                        format!(
                            "{} values from position {first_position} do not make whole rows of {} within {} tokens",
                            delta.len(),
                            config.vocab_size,
                            ids.len()
                        ),
                    ));
                }
                if let Some(bad) = delta.iter().position(|x| !x.is_finite()) {
                    return Err(RequestError::invalid(
                        "delta on the logits",
                        format!("value {bad} is not finite"),
                    ));
                }
                (*first_position, rows, Vec::new())
            }
        };
        Ok(ResolvedObjective { first_position, count, targets, objective: self.clone() })
    }
}

impl ResolvedObjective {
    /// As it is recorded in a trace file: kind, positions and targets.
    pub fn to_json(&self) -> serde_json::Value {
        let positions: Vec<usize> = (self.first_position..self.first_position + self.count).collect();
        let targets: Vec<u32> = self.targets.iter().map(|t| t.0).collect();
        match &self.objective {
            Objective::Target(_) => {
                serde_json::json!({"kind": "target", "positions": positions, "targets": targets})
            }
            Objective::Completion { .. } => {
                serde_json::json!({"kind": "completion", "positions": positions, "targets": targets})
            }
            Objective::NextToken => {
                serde_json::json!({"kind": "next_token", "positions": positions, "targets": targets})
            }
            Objective::LogitDifference { token, minus } => serde_json::json!({
                "kind": "logit_difference", "positions": positions, "targets": [token.0], "minus": [minus.0]}),
            Objective::Delta { .. } => {
                serde_json::json!({"kind": "delta", "positions": positions, "targets": []})
            }
        }
    }
}
