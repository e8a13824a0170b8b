//! Reading a tokenizer's files.

use super::{END_OF_TEXT, Tokenizer};
use crate::FormatError;
use crate::bounded::{self, Limits, brief};
use crate::config::MAX_VOCABULARY;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// GPT-2's tokenizer.json has 2 MB and 250 thousand values, those of the largest vocabularies that are in use (a quarter of a
/// million tokens) 33 MB and 2 million. vocab.json and merges.txt are parts of it.
const FILE_LIMITS: Limits = Limits { bytes: 64 << 20, values: 8 << 20 };

/// The pre-tokenizers that may stand beside ByteLevel in a sequence: those of published byte-level tokenizers. Others
/// panic for settings that nobody checks, such as FixedLength for a length of 0.
const PRE_TOKENIZERS: [&str; 5] = ["ByteLevel", "Sequence", "Split", "Digits", "Punctuation"];

/// Ids that may belong to no token. An embedding has a row for each: published vocabularies leave out some, for later use.
const MAX_GAPS: usize = 1 << 16;

/// The normalisers that a file may ask for: those whose settings cannot be malformed binary tables.
const NORMALIZERS: [&str; 9] =
    ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "Prepend", "Replace", "Sequence"];

impl Tokenizer {
    /// Reads `tokenizer.json`, or else `vocab.json` and `merges.txt`; `None` when the directory has neither.
    pub fn from_dir(dir: &Path) -> Result<Option<Self>, FormatError> {
        let whole = dir.join("tokenizer.json");
        if whole.is_file() {
            let value = bounded::read_json(&whole, FILE_LIMITS)?;
            return Tokenizer::from_json(value, Some(&whole)).map(Some);
        }
        let (vocab, merges) = (dir.join("vocab.json"), dir.join("merges.txt"));
        match (vocab.is_file(), merges.is_file()) {
            (false, false) => Ok(None),
            (true, true) => {
                let value = byte_level_bpe(bounded::read_json(&vocab, FILE_LIMITS)?, read_merges(&merges)?);
                Tokenizer::from_json(value, Some(&vocab)).map(Some)
            }
            (true, false) => Err(FormatError::malformed(dir, "has vocab.json but no merges.txt")),
            (false, true) => Err(FormatError::malformed(dir, "has merges.txt but no vocab.json")),
        }
    }

    /// Checks the content of a `tokenizer.json` and builds the tokenizer. What the `tokenizers` crate takes on
    /// trust is checked before it sees it.
    pub(super) fn from_json(mut value: Value, source: Option<&Path>) -> Result<Self, FormatError> {
        let place: PathBuf = source.map_or_else(|| "tokenizer".into(), Path::to_owned);
        let malformed = |reason: String| FormatError::malformed(&place, reason);
        let Some(object) = value.as_object_mut() else {
            return Err(malformed("is not a JSON object".to_owned()));
        };
        // They would cut and fill up what is encoded; here the caller decides on lengths.
        object.insert("truncation".to_owned(), Value::Null);
        object.insert("padding".to_owned(), Value::Null);
        check_normalizer(object.get("normalizer").unwrap_or(&Value::Null)).map_err(malformed)?;
        check_byte_level(object.get("pre_tokenizer").unwrap_or(&Value::Null)).map_err(malformed)?;
        let Some(model) = object.get_mut("model").and_then(Value::as_object_mut) else {
            return Err(malformed("has no model".to_owned()));
        };
        let ids = check_model(model).map_err(malformed)?;
        let added = match object.get("added_tokens") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(tokens)) => tokens.clone(),
            Some(_) => return Err(malformed("added_tokens is not a list".to_owned())),
        };
        let added_ids: Vec<(String, u64)> = added
            .iter()
            .map(|token| {
                let content = token.get("content").and_then(Value::as_str).filter(|text| !text.is_empty());
                let id = token.get("id").and_then(Value::as_u64).filter(|id| *id < MAX_VOCABULARY);
                content.map(str::to_owned).zip(id)
            })
            .collect::<Option<_>>()
            .ok_or_else(|| malformed("an added token has no content or no usable id".to_owned()))?;

        let largest = ids.last().copied().into_iter().chain(added_ids.iter().map(|(_, id)| *id)).max();
        let exact = is_exact(object, &added);
        let inner: tokenizers::Tokenizer = serde_json::from_value(value)
            .map_err(|error| malformed(format!("is not a tokenizer: {error}")))?;
        for (content, id) in &added_ids {
            if inner.token_to_id(content).map(u64::from) != Some(*id) {
                return Err(malformed(format!("the added token '{content}' cannot have the id {id}")));
            }
        }
        let size = largest.map_or(0, |id| id as usize + 1);
        Ok(Tokenizer { inner, source: source.map(Path::to_owned), size, exact })
    }

    /// What errors about this tokenizer name.
    pub(super) fn place(&self) -> PathBuf {
        self.source.clone().unwrap_or_else(|| "tokenizer".into())
    }
}

/// The content of a `tokenizer.json` for GPT-2's kind of tokenizer.
fn byte_level_bpe(vocab: Value, merges: Value) -> Value {
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let special = |id: &Value| {
        json!([{"id": id, "content": END_OF_TEXT, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}])
    };
    let added = vocab.get(END_OF_TEXT).map_or_else(|| json!([]), special);
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    })
}

/// The pairs of a `merges.txt`: one a line, apart by one blank, after a line `#version`.
fn read_merges(path: &Path) -> Result<Value, FormatError> {
    let text = bounded::read_text(path, FILE_LIMITS.bytes)?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        match line.split(' ').collect::<Vec<_>>()[..] {
            [_, _] if pairs.len() as u64 == MAX_VOCABULARY => {
                let reason = format!("has more than {MAX_VOCABULARY} merges, one for each token at most");
                return Err(FormatError::malformed(path, reason));
            }
            [left, right] if !left.is_empty() && !right.is_empty() => pairs.push(json!([left, right])),
            _ => {
                let reason = format!("line {} is not two tokens with one blank between", number + 1);
                return Err(FormatError::malformed(path, reason));
            }
        }
    }
    Ok(Value::Array(pairs))
}

/// Checks the `model` object and returns the ids of its vocabulary.
fn check_model(model: &mut Map<String, Value>) -> Result<BTreeSet<u64>, String> {
    match model.get("type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind == "BPE" => {}
        Some(kind) => {
            return Err(format!("is a tokenizer of type {}; only byte-level BPE is supported", brief(kind)));
        }
    }
    model.insert("type".to_owned(), "BPE".into());
    // Dropout is for training tokenisation at random.
    model.insert("dropout".to_owned(), Value::Null);
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
        match model.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(text) => return Err(format!("{name} is {}; byte-level BPE has none", brief(text))),
        }
    }
    if !model.get("merges").is_some_and(Value::is_array) {
        return Err("its model has no list of merges".to_owned());
    }
    let Some(vocab) = model.get("vocab").and_then(Value::as_object) else {
        return Err("its vocabulary is not an object of tokens and ids".to_owned());
    };
    let mut ids = BTreeSet::new();
    for (token, id) in vocab {
        let Some(number) = id.as_u64().filter(|id| *id < MAX_VOCABULARY) else {
            return Err(format!(
                "the id of '{token}' is {}; must be a whole number below {MAX_VOCABULARY}",
                brief(id)
            ));
        };
        if number >= (vocab.len() + MAX_GAPS) as u64 {
            return Err(format!(
                "the id of '{token}' is {number}, but there are only {} tokens: ids must follow each other",
                vocab.len()
            ));
        }
        if !ids.insert(number) {
            return Err(format!("the id {number} of '{token}' belongs to another token too"));
        }
    }
    Ok(ids)
}

fn check_normalizer(value: &Value) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("without a type");
    if !NORMALIZERS.contains(&kind) {
        return Err(format!("has a normalizer {kind}, which is not supported"));
    }
    // A pattern that matches nothing between two characters makes the library panic, and of a regular expression that
    // cannot be told beforehand.
    let text = value.pointer("/pattern/String").and_then(Value::as_str);
    if kind == "Replace" && text.is_none_or(str::is_empty) {
        return Err(
            "has a normalizer that replaces by a regular expression or an empty text, which is not supported"
                .to_owned(),
        );
    }
    value.get("normalizers").and_then(Value::as_array).into_iter().flatten().try_for_each(check_normalizer)
}

fn check_byte_level(value: &Value) -> Result<(), String> {
    let is_byte_level = |value: &Value| value.get("type").and_then(Value::as_str) == Some("ByteLevel");
    let listed = value.get("pretokenizers").and_then(Value::as_array);
    if !is_byte_level(value) && !listed.is_some_and(|list| list.iter().any(is_byte_level)) {
        return Err("its pre_tokenizer is not ByteLevel; only byte-level BPE is supported".to_owned());
    }
    check_pre_tokenizer(value)
}

fn check_pre_tokenizer(value: &Value) -> Result<(), String> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("without a type");
    if !PRE_TOKENIZERS.contains(&kind) {
        return Err(format!("has a pre_tokenizer {kind}, which is not supported"));
    }
    if let Some(pattern) = value.pointer("/pattern/Regex").and_then(Value::as_str)
        && !is_linear(pattern)
    {
        return Err(format!(
            "splits by '{pattern}', for which a text could take for ever; of what looks ahead or back only \
             {BLANKS_BEFORE_A_BLANK} as an alternative by itself is supported"
        ));
    }
    value
        .get("pretokenizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .try_for_each(check_pre_tokenizer)
}

/// All blanks of a run but the last: in the patterns of GPT-2 and of all that came of it.
const BLANKS_BEFORE_A_BLANK: &str = r"\s+(?!\S)";

/// Whether a regular expression takes time in proportion to the text. The library tries alternatives one after the other
/// only for what an automaton cannot do, of which such patterns have one piece.
fn is_linear(pattern: &str) -> bool {
    let plain: Vec<&str> = pattern.split('|').filter(|branch| *branch != BLANKS_BEFORE_A_BLANK).collect();
    regex_syntax::parse(&plain.join("|")).is_ok()
}

/// See [`Tokenizer::exact`].
fn is_exact(object: &Map<String, Value>, added: &[Value]) -> bool {
    let flag = |value: &Value, name: &str, default: bool| {
        value.get(name).and_then(Value::as_bool).unwrap_or(default)
    };
    let pre = object.get("pre_tokenizer").unwrap_or(&Value::Null);
    let plain_split = pre.get("type").and_then(Value::as_str) == Some("ByteLevel")
        && !flag(pre, "add_prefix_space", true)
        && flag(pre, "use_regex", true);
    let plain_tokens = added.iter().all(|token| {
        let multiline = token.get("content").and_then(Value::as_str).is_none_or(|text| text.contains('\n'));
        !multiline && !["lstrip", "rstrip", "single_word"].iter().any(|name| flag(token, name, false))
    });
    object.get("normalizer").is_none_or(Value::is_null) && plain_split && plain_tokens
}
