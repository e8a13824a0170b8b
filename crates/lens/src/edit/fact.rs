//! What is to be edited in.

use retrograd_formats::{RequestError, TokenId, Tokenizer};

/// A prompt, and what the model is to say after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The tokens of the prompt.
    pub prompt: Vec<TokenId>,
    /// The tokens of the answer. Success is measured on the first; a shift writes the first, sgd goes down the
    /// mean loss of all of them.
    pub target: Vec<TokenId>,
}

impl Fact {
    /// A fact in words. See [`target_tokens`] for the answer.
    pub fn from_text(tokenizer: &Tokenizer, prompt: &str, target: &str) -> Result<Fact, RequestError> {
        let prompt = tokenizer.encode(prompt)?;
        if prompt.is_empty() {
            return Err(RequestError::invalid("prompt", "is empty: give at least one token of text"));
        }
        Ok(Fact { prompt, target: target_tokens(tokenizer, target)? })
    }

    /// The token whose probability tells success.
    ///
    /// # Errors
    /// When there is none.
    pub fn first_target(&self) -> Result<TokenId, RequestError> {
        let first = self.target.first().copied();
        first.ok_or_else(|| RequestError::invalid("target", "is empty; give a word, as in ' Paris'"))
    }
}

/// The tokens of an answer.
///
/// # Errors
/// When it is empty, or several tokens of which only a blank before the text would make one: that blank was
/// forgotten.
pub fn target_tokens(tokenizer: &Tokenizer, target: &str) -> Result<Vec<TokenId>, RequestError> {
    let ids = tokenizer.encode(target)?;
    let forgotten = ids.len() != 1
        && !target.starts_with(char::is_whitespace)
        && tokenizer.encode(&format!(" {target}"))?.len() == 1;
    if ids.is_empty() || forgotten {
        // Says which tokens there are, and which one with a blank.
        tokenizer.single_token(target)?;
    }
    Ok(ids)
}
