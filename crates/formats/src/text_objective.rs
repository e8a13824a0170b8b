//! Objectives as a person words them.

use crate::{Objective, RequestError, TokenId, Tokenizer, TraceRequest};

/// An objective in text; a tokenizer turns it and a prompt into a [`TraceRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextObjective<'a> {
    /// −log p of this text, one token, after the prompt.
    Target(&'a str),
    /// −log p of this token after the prompt.
    TargetId(TokenId),
    /// Mean −log p of this text's tokens after the prompt.
    Completion(&'a str),
    /// Mean −log p of every next token of the prompt itself.
    NextToken,
}

impl TextObjective<'_> {
    /// A request for this objective on a prompt, everything captured.
    pub fn request(self, tokenizer: &Tokenizer, prompt: &str) -> Result<TraceRequest, RequestError> {
        let mut ids = tokenizer.encode(prompt)?;
        if ids.is_empty() {
            return Err(RequestError::invalid("prompt", "is empty: give at least one token of text"));
        }
        let objective = match self {
            TextObjective::Target(text) => Objective::Target(tokenizer.single_token(text)?),
            TextObjective::TargetId(id) => Objective::Target(id),
            TextObjective::Completion(text) => {
                let start = ids.len();
                ids.extend(tokenizer.encode(text)?);
                Objective::Completion { start }
            }
            TextObjective::NextToken => Objective::NextToken,
        };
        Ok(TraceRequest::new(ids, objective))
    }
}
