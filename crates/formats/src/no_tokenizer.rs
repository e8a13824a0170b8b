//! What stands for a tokenizer in a build without the feature `tokenizer`: a type of which there is no value, so that
//! everything that takes an `Option<&Tokenizer>` is the same code with and without, and is given `None`.

use crate::{FormatError, RequestError, TokenId};
use std::path::Path;

/// A tokenizer, of which this build has none: the feature `tokenizer` is off. Prompts are given as token ids.
#[derive(Clone, Debug)]
pub enum Tokenizer {}

impl Tokenizer {
    /// No tokenizer, whatever the directory has.
    pub fn from_dir(_: &Path) -> Result<Option<Self>, FormatError> {
        Ok(None)
    }

    /// The tokens of a text.
    pub fn encode(&self, _: &str) -> Result<Vec<TokenId>, RequestError> {
        match *self {}
    }

    /// The text of a sequence of tokens.
    pub fn decode(&self, _: &[TokenId]) -> String {
        match *self {}
    }

    /// The text of one token.
    pub fn token_text(&self, _: TokenId) -> String {
        match *self {}
    }

    /// The number of rows that an embedding for this tokenizer needs.
    pub fn vocab_size(&self) -> usize {
        match *self {}
    }

    /// The one token that a text consists of.
    pub fn single_token(&self, _: &str) -> Result<TokenId, RequestError> {
        match *self {}
    }

    /// The id of a vocabulary entry.
    pub fn id_of(&self, _: &str) -> Option<TokenId> {
        match *self {}
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<TokenId> {
        match *self {}
    }

    /// Writes the tokenizer's files.
    pub fn save(&self, _: &Path) -> Result<(), FormatError> {
        match *self {}
    }
}
