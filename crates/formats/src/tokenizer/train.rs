//! Training a byte-level BPE from text.

use super::{END_OF_TEXT, Tokenizer};
use crate::config::MAX_VOCABULARY;
use crate::{FormatError, RequestError};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerBuilder};

/// The trainer counts pairs in 32 bits, so this is the most text it can count.
const MAX_BYTES: u64 = i32::MAX as u64;

/// How a tokenizer is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpeOptions {
    /// Size of the vocabulary: special tokens, the 256 bytes, and as many merges as are left. A text with too
    /// few different pairs gives a smaller one.
    pub vocab_size: usize,
    /// Special tokens, which get the first ids; when there are none, `<|endoftext|>` is the one.
    pub special: Vec<String>,
}

impl BpeOptions {
    /// A vocabulary of this size with `<|endoftext|>` as token 0.
    pub fn new(vocab_size: usize) -> Self {
        BpeOptions { vocab_size, special: Vec::new() }
    }
}

/// Trains a byte-level BPE on UTF-8 text files, line by line. Deterministic, and the same as Python's
/// `tokenizers` with `ByteLevel(add_prefix_space=False)` and `BpeTrainer(initial_alphabet=ByteLevel.alphabet())`.
pub fn train_bpe(files: &[PathBuf], options: &BpeOptions) -> Result<Tokenizer, FormatError> {
    let special = match &options.special[..] {
        [] => vec![END_OF_TEXT.to_owned()],
        given => given.to_vec(),
    };
    check_options(files, options.vocab_size, &special)?;

    let mut trainer = BpeTrainer::builder()
        .vocab_size(options.vocab_size)
        .show_progress(false)
        .special_tokens(special.iter().map(|text| AddedToken::from(text.clone(), true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let byte_level = ByteLevel::new(false, true, true);
    let failed =
        |error: tokenizers::Error| RequestError::invalid("training the tokenizer", error.to_string());
    let mut tokenizer = TokenizerBuilder::<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(Some(byte_level))
        .with_decoder(Some(byte_level))
        .build()
        .map_err(failed)?;

    // The trainer takes texts, not results: the first file that cannot be read ends them.
    let mut unreadable = None;
    let mut lines = files.iter().flat_map(|path| Lines::open(path));
    let texts = std::iter::from_fn(|| match lines.next()? {
        Ok(line) => Some(line),
        Err(error) => {
            unreadable = Some(error);
            None
        }
    });
    tokenizer.train(&mut trainer, texts.fuse()).map_err(failed)?;
    if let Some(error) = unreadable {
        return Err(error);
    }
    let value = serde_json::to_value(&tokenizer)
        .map_err(|error| RequestError::invalid("training the tokenizer", error.to_string()))?;
    Tokenizer::from_json(value, None)
}

fn check_options(files: &[PathBuf], vocab_size: usize, special: &[String]) -> Result<(), FormatError> {
    let least = 256 + special.len();
    if vocab_size < least || vocab_size as u64 > MAX_VOCABULARY {
        return Err(RequestError::invalid(
            "vocabulary size",
            format!(
                "{vocab_size} is not within {least} (256 bytes and the special tokens) and {MAX_VOCABULARY}"
            ),
        )
        .into());
    }
    for (i, token) in special.iter().enumerate() {
        if token.is_empty() || special[..i].contains(token) {
            return Err(
                RequestError::invalid("special token", format!("'{token}' is empty or given twice")).into()
            );
        }
    }
    if files.is_empty() {
        return Err(RequestError::invalid("text", "no file to train the tokenizer on").into());
    }
    let mut total = 0u64;
    for path in files {
        let metadata = std::fs::metadata(path).map_err(|source| FormatError::io(path, source))?;
        total = total.saturating_add(metadata.len());
        if total > MAX_BYTES {
            return Err(FormatError::malformed(
                path,
                format!("makes the text longer than {MAX_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

/// The lines of a UTF-8 file with their line ends.
struct Lines<'a> {
    path: &'a Path,
    reader: Option<BufReader<File>>,
    error: Option<FormatError>,
    number: u64,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Self {
        let (reader, error) = match File::open(path) {
            // 1 MiB, so that reading costs few system calls.
            Ok(file) => (Some(BufReader::with_capacity(1 << 20, file)), None),
            Err(source) => (None, Some(FormatError::io(path, source))),
        };
        Lines { path, reader, error, number: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<String, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        let mut line = Vec::new();
        self.number += 1;
        match self.reader.as_mut()?.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(String::from_utf8(line).map_err(|_| {
                FormatError::malformed(self.path, format!("line {} is not UTF-8", self.number))
            })),
            Err(source) => Some(Err(FormatError::io(self.path, source))),
        }
    }
}
