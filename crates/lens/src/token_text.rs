//! Tokens with their text, as the JSON documents list them.

use retrograd_formats::{TokenId, Tokenizer};
use serde::Serialize;

/// A token and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenText {
    /// Its row of the vocabulary.
    pub id: u32,
    /// Its text; `None` where there is no tokenizer.
    pub text: Option<String>,
}

impl TokenText {
    /// The text of `id`.
    pub fn new(id: TokenId, tokenizer: Option<&Tokenizer>) -> Self {
        TokenText { id: id.0, text: tokenizer.map(|tokenizer| tokenizer.token_text(id)) }
    }
}

/// The text of each token.
pub fn token_texts(ids: &[TokenId], tokenizer: Option<&Tokenizer>) -> Vec<TokenText> {
    ids.iter().map(|id| TokenText::new(*id, tokenizer)).collect()
}
