//! Text to tokens and back: GPT-2's byte-level byte-pair encoding.

mod byte_level;
mod load;
mod save;
mod stream;
mod train;

pub use stream::StreamDecoder;
pub use train::{BpeOptions, train_bpe};

use crate::{RequestError, TokenId};
use std::path::PathBuf;

/// The token that ends a text.
const END_OF_TEXT: &str = "<|endoftext|>";
/// Long texts are encoded in pieces of about this many bytes, which bounds the memory of their encoding.
const PIECE_BYTES: usize = 1 << 16;

/// The longest run of blanks that is split as GPT-2 splits it: the regular expression keeps a step per blank
/// and gives up, silently, after a million.
const MAX_BLANKS: usize = 500_000;

/// A byte-level BPE tokenizer, GPT-2's or one of its kind.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The file it came from, for error messages; none for one that was trained.
    source: Option<PathBuf>,
    /// 1 + the largest id.
    size: usize,
    /// Whether every text has an encoding that decodes to that very text, cut into lines or not: nothing is
    /// normalised and the text is split as GPT-2 splits it.
    exact: bool,
}

impl Tokenizer {
    /// The tokens of a text. Special tokens written in it are recognised; none is added.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>, RequestError> {
        if text.len() > MAX_BLANKS && longest_run_of_blanks(text) > MAX_BLANKS {
            return Err(RequestError::invalid("text", format!("has more than {MAX_BLANKS} blanks in a row")));
        }
        let mut ids = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(if self.exact { cut(rest) } else { rest.len() });
            rest = after;
            let encoding = self
                .inner
                .encode_fast(piece, false)
                .map_err(|error| RequestError::invalid("text", format!("cannot be tokenised: {error}")))?;
            let from = ids.len();
            ids.extend(encoding.get_ids().iter().copied().map(TokenId));
            if self.exact {
                self.check_nothing_lost(piece, &ids[from..])?;
            }
        }
        Ok(ids)
    }

    /// The text of a sequence of tokens; bytes that do not make UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes_of(*id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text of one token, U+FFFD for bytes that are only part of a character, `[50300]` for an id
    /// outside the vocabulary.
    pub fn token_text(&self, id: TokenId) -> String {
        self.decode(&[id])
    }

    /// Turns a stream of tokens into text as it arrives.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(self)
    }

    /// The number of rows that an embedding for this tokenizer needs: 1 + the largest id.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The one token that `text`, exactly as given, consists of.
    pub fn single_token(&self, text: &str) -> Result<TokenId, RequestError> {
        let ids = self.encode(text)?;
        if let [id] = ids[..] {
            return Ok(id);
        }
        let what = format!("token '{text}'");
        if ids.is_empty() {
            return Err(RequestError::invalid(what, "is empty; give a word, as in ' Paris'"));
        }
        let pieces: Vec<String> = ids.iter().map(|id| format!("'{}' ({id})", self.token_text(*id))).collect();
        let with_blank = format!(" {text}");
        let advice = match self.encode(&with_blank) {
            Ok(ids) if ids.len() == 1 => {
                format!(
                    "'{with_blank}', with a blank before it as inside a sentence, is one token ({})",
                    ids[0]
                )
            }
            _ => "give one of them, or choose by id".to_owned(),
        };
        Err(RequestError::invalid(
            what,
            format!("is not one token but {}: {}; {advice}", ids.len(), pieces.join(" ")),
        ))
    }

    /// The id of a vocabulary entry, spelled as in `vocab.json` (`Ġthe`) or as a special token.
    pub fn id_of(&self, token: &str) -> Option<TokenId> {
        self.inner.token_to_id(token).map(TokenId)
    }

    /// The token that ends a text, `<|endoftext|>`, where there is one.
    pub fn eos(&self) -> Option<TokenId> {
        self.id_of(END_OF_TEXT)
    }

    /// The bytes that a token stands for.
    pub(crate) fn bytes_of(&self, id: TokenId) -> Vec<u8> {
        if let Some(added) = self.inner.get_added_vocabulary().get_added_tokens_decoder().get(&id.0) {
            return added.content.clone().into_bytes();
        }
        match self.inner.id_to_token(id.0) {
            Some(token) => byte_level::bytes(&token),
            None => format!("[{id}]").into_bytes(),
        }
    }

    /// A vocabulary without all 256 bytes drops what it cannot spell; that must not go unnoticed.
    fn check_nothing_lost(&self, text: &str, ids: &[TokenId]) -> Result<(), RequestError> {
        let mut rest = text.as_bytes();
        for id in ids {
            match rest.strip_prefix(&self.bytes_of(*id)[..]) {
                Some(after) => rest = after,
                None => break,
            }
        }
        if rest.is_empty() {
            return Ok(());
        }
        let at = text.len() - rest.len();
        let shown: String = String::from_utf8_lossy(rest).chars().take(1).collect();
        Err(RequestError::invalid(
            "text",
            format!("the tokenizer's vocabulary cannot spell {shown:?} (byte {at})"),
        ))
    }
}

/// Where a long text may be cut without changing its tokens: after a line break that stands between two
/// characters that are not blank. There GPT-2's splitting makes the line break a piece of its own, whether
/// the text goes on or not.
fn cut(text: &str) -> usize {
    if text.len() <= PIECE_BYTES {
        return text.len();
    }
    let bytes = text.as_bytes();
    let solid = |byte: u8| byte.is_ascii_graphic();
    (PIECE_BYTES..text.len() - 1)
        .find(|&at| bytes[at] == b'\n' && solid(bytes[at - 1]) && solid(bytes[at + 1]))
        .map_or(text.len(), |at| at + 1)
}

fn longest_run_of_blanks(text: &str) -> usize {
    text.split(|c: char| !c.is_whitespace()).map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
