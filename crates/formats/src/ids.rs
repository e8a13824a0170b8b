//! Small types that keep a layer from being taken for a head or a token.

use crate::RequestError;
use std::fmt;
use std::str::FromStr;

/// A transformer block, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Layer(pub usize);

/// An attention head: the block it stands in and its index there, both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Head {
    /// The block.
    pub layer: usize,
    /// The head within the block.
    pub head: usize,
}

/// A row of the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub u32);

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Head {
    /// `L3H7`, as the papers write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}H{}", self.layer, self.head)
    }
}

impl FromStr for Head {
    type Err = RequestError;
    /// `3.7`: layer 3, head 7.
    fn from_str(text: &str) -> Result<Self, RequestError> {
        let parsed = text
            .trim()
            .split_once('.')
            .and_then(|(layer, head)| Some(Head { layer: layer.parse().ok()?, head: head.parse().ok()? }));
        parsed.ok_or_else(|| RequestError::invalid("head", format!("'{text}' is not LAYER.HEAD, as in 3.7")))
    }
}

/// Heads as `0.1,3.7`.
pub fn parse_heads(text: &str) -> Result<Vec<Head>, RequestError> {
    text.split(',').map(str::parse).collect()
}

/// Token ids as `15496,995`; blanks around a number are allowed, an empty list is not.
pub fn parse_ids(text: &str) -> Result<Vec<TokenId>, RequestError> {
    if text.trim().is_empty() {
        return Err(RequestError::invalid("--ids", "the list is empty"));
    }
    text.split(',')
        .map(|item| {
            item.trim().parse().map(TokenId).map_err(|_| {
                RequestError::invalid(
                    "--ids",
                    format!("'{}' is not a token id (a whole number from 0)", item.trim()),
                )
            })
        })
        .collect()
}
