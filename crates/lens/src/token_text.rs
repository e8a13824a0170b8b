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

impl TokenText {
    /// For tables and figures: its text with blanks visible, or `#17` where there is no tokenizer.
    pub fn label(&self) -> String {
        match &self.text {
            Some(text) => visible(text),
            None => format!("#{}", self.id),
        }
    }
}

/// A text with its blanks visible (`␣`, `↵`, `⇥`) and nothing that would move the cursor or reorder what stands
/// around it: control characters and bidirectional marks are shown as their numbers.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        let reorders =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            ' ' => shown.push('␣'),
            '\n' => shown.push('↵'),
            '\t' => shown.push('⇥'),
            c if c.is_control() || reorders => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// The text of each token.
pub fn token_texts(ids: &[TokenId], tokenizer: Option<&Tokenizer>) -> Vec<TokenText> {
    ids.iter().map(|id| TokenText::new(*id, tokenizer)).collect()
}
