//! Small vocabularies made here; the exactness of cutting long texts.

use super::*;
use crate::FormatError;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

/// All 256 bytes, then `lo`, `Ġlo`, `low`, `<|endoftext|>`.
fn vocabulary() -> serde_json::Map<String, Value> {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut tokens: Vec<String> = alphabet.into_iter().map(String::from).collect();
    tokens.extend(["lo", "Ġlo", "low", END_OF_TEXT].map(str::to_owned));
    tokens.into_iter().enumerate().map(|(id, token)| (token, id.into())).collect()
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

fn small() -> Tokenizer {
    let vocab = Value::Object(vocabulary()).to_string();
    let dir = directory(&[("vocab.json", &vocab), ("merges.txt", "#version: 0.2\nl o\nĠ lo\nlo w\n")]);
    Tokenizer::from_dir(dir.path()).unwrap().unwrap()
}

fn raw(ids: &[TokenId]) -> Vec<u32> {
    ids.iter().map(|id| id.0).collect()
}

#[test]
fn vocab_and_merges_make_a_tokenizer() {
    let tokenizer = small();
    assert_eq!(tokenizer.vocab_size(), 260);
    assert_eq!(tokenizer.eos(), Some(TokenId(259)));
    assert_eq!(raw(&tokenizer.encode("low lo").unwrap()), [258, 257]);
    assert_eq!(raw(&tokenizer.encode("<|endoftext|>lo").unwrap()), [259, 256]);
    assert_eq!(tokenizer.encode("").unwrap(), []);
    assert_eq!(tokenizer.id_of("Ġlo"), Some(TokenId(257)));
    assert_eq!(tokenizer.id_of(" lo"), None);
    assert_eq!(tokenizer.single_token(" lo").unwrap(), TokenId(257));
}

#[test]
fn every_text_comes_back() {
    let tokenizer = small();
    for text in
        ["", "low", " low\n\n\tlo  ", "Zoë grüßt 東京 🦀", "a\u{0}b\u{7f}\u{ad}", "<|endoftext|> <|end"]
    {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()), text);
    }
}

#[test]
fn one_token_as_text() {
    let tokenizer = small();
    assert_eq!(tokenizer.token_text(TokenId(257)), " lo");
    assert_eq!(tokenizer.token_text(TokenId(259)), "<|endoftext|>");
    assert_eq!(tokenizer.token_text(TokenId(50300)), "[50300]");
    assert_eq!(tokenizer.token_text(tokenizer.encode("é").unwrap()[0]), "\u{fffd}");
}

#[test]
fn a_token_that_is_several_is_explained() {
    let error = small().single_token("lob").unwrap_err().to_string();
    assert!(
        error.contains("'lob'") && error.contains("'lo' (256) 'b' (") && error.contains("choose by id"),
        "{error}"
    );
    let error = small().single_token("").unwrap_err().to_string();
    assert!(error.contains("is empty"), "{error}");
    // Not one token as given, but one with a blank before it.
    let mut vocab = vocabulary();
    vocab.remove("lo");
    vocab.insert("Ġl".to_owned(), 256.into());
    let vocab = Value::Object(vocab).to_string();
    let dir = directory(&[("vocab.json", &vocab), ("merges.txt", "Ġ l\nĠl o\n")]);
    let error = Tokenizer::from_dir(dir.path()).unwrap().unwrap().single_token("lo").unwrap_err().to_string();
    assert!(error.contains("' lo', with a blank before it") && error.contains("(257)"), "{error}");
}

#[test]
fn a_stream_never_splits_a_character() {
    let tokenizer = small();
    let text = "é東🦀 low";
    let ids = tokenizer.encode(text).unwrap();
    let mut stream = tokenizer.stream();
    let pieces: Vec<String> = ids.iter().map(|id| stream.push(*id)).collect();
    assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')));
    assert_eq!(pieces.concat() + &stream.finish(), text);

    // Broken sequences come out as decode() shows them.
    for broken in [&ids[..1], &ids[1..4], &ids[2..], &ids[..8]] {
        let mut stream = StreamDecoder::new(&tokenizer);
        let mut out: String = broken.iter().map(|id| stream.push(*id)).collect();
        out.push_str(&stream.finish());
        assert_eq!(out, tokenizer.decode(broken));
        assert_eq!(stream.finish(), "");
    }
}

#[test]
fn a_vocabulary_that_cannot_spell_a_text_says_so() {
    let dir = directory(&[
        ("vocab.json", r#"{"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}"#),
        ("merges.txt", "a b\n"),
    ]);
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap().unwrap();
    assert_eq!(raw(&tokenizer.encode("ab<|endoftext|>b").unwrap()), [2, 3, 1]);
    let error = tokenizer.encode("abé").unwrap_err().to_string();
    assert!(error.contains("cannot spell \"é\" (byte 2)"), "{error}");
}

#[test]
fn cutting_long_texts_changes_nothing() {
    let tokenizer = small();
    // Line ends of every kind around the place where the text is cut.
    for tail in ["a\nb", "a \nb", "a\n b", "a\n\nb", "a\r\nb", "é\nb", "a\né", "a\n<|endoftext|>b", "a\n"] {
        let mut text = "low lo\n".repeat(PIECE_BYTES / 7 - 1);
        text.push_str(&"x".repeat(PIECE_BYTES.saturating_sub(text.len() + 1)));
        text.push_str(&tail.repeat(5));
        text.push_str(&"\nlow lo".repeat(3 * PIECE_BYTES / 7));
        let whole = tokenizer.inner.encode_fast(&text[..], false).unwrap();
        assert_eq!(raw(&tokenizer.encode(&text).unwrap()), whole.get_ids(), "{tail:?}");
    }
    let endless = "x".repeat(PIECE_BYTES + 10);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&endless).unwrap()), endless);
}

fn whole_file(change: impl FnOnce(&mut Value)) -> Value {
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let mut value = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 259, "content": END_OF_TEXT, "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": true, "special": true}],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": false, "vocab": vocabulary(),
                  "merges": [["l", "o"], ["Ġ", "lo"], ["lo", "w"]]}
    });
    change(&mut value);
    value
}

fn load(value: &Value) -> Result<Option<Tokenizer>, FormatError> {
    let dir = directory(&[("tokenizer.json", &value.to_string())]);
    Tokenizer::from_dir(dir.path())
}

#[test]
fn tokenizer_json_with_both_forms_of_merges() {
    for merges in [json!([["l", "o"], ["Ġ", "lo"], ["lo", "w"]]), json!(["l o", "Ġ lo", "lo w"])] {
        let tokenizer = load(&whole_file(|file| file["model"]["merges"] = merges)).unwrap().unwrap();
        assert_eq!(raw(&tokenizer.encode("low lo<|endoftext|>").unwrap()), [258, 257, 259]);
        assert_eq!(tokenizer.vocab_size(), 260);
    }
}

#[test]
fn truncation_padding_and_dropout_are_not_applied() {
    let tokenizer = load(&whole_file(|file| {
        file["truncation"] =
            json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0});
        file["model"]["dropout"] = json!(1.0);
    }));
    assert_eq!(raw(&tokenizer.unwrap().unwrap().encode("low low lo").unwrap()).len(), 4);
}

#[test]
fn hostile_tokenizer_files_are_errors() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 17] = [
        (|f| *f = json!([]), "not a JSON object"),
        (|f| f["model"] = json!(null), "no model"),
        (|f| f["model"]["type"] = json!("Unigram"), "only byte-level BPE"),
        (|f| f["model"]["vocab"] = json!(["a"]), "not an object"),
        (|f| f["model"]["vocab"]["lo"] = json!(-1), "the id of 'lo' is -1"),
        (|f| f["model"]["vocab"]["lo"] = json!(4294967295u32), "must be a whole number below"),
        (|f| f["model"]["vocab"]["lo"] = json!(3), "belongs to another token"),
        (|f| f["model"]["merges"] = json!("l o"), "no list of merges"),
        (|f| f["model"]["merges"] = json!([["l", "nonsense"]]), "not a tokenizer"),
        (|f| f["model"]["merges"] = json!(["l o w"]), "not a tokenizer"),
        (|f| f["model"]["merges"] = json!([[1, 2]]), "not a tokenizer"),
        (|f| f["model"]["continuing_subword_prefix"] = json!("##"), "continuing_subword_prefix"),
        (|f| f["pre_tokenizer"] = json!(null), "not ByteLevel"),
        (|f| f["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "Precompiled"),
        (|f| f["added_tokens"][0]["id"] = json!(7), "cannot have the id 7"),
        (|f| f["added_tokens"] = json!([{"id": 4294967295u32, "content": "x"}]), "no usable id"),
        (|f| f["version"] = json!("9"), "not a tokenizer"),
    ];
    for (change, expected) in cases {
        let error = load(&whole_file(change)).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json") && error.contains(expected), "{expected}: {error}");
    }
}

/// A good file with random damage: an error or a tokenizer, never a panic.
#[test]
fn randomly_damaged_tokenizer_files_never_panic() {
    // Mostly digits, letters and quotes, so that much of it is still JSON.
    const DAMAGE: &[u8] = b"0123456789lowabc\"{}[]:,-. \xff";
    let good = whole_file(|_| {}).to_string().into_bytes();
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..1 + random(3) {
            let at = random(bytes.len());
            bytes[at] = DAMAGE[random(DAMAGE.len())];
        }
        let Ok(value) = serde_json::from_slice(&bytes) else { continue };
        if let Ok(tokenizer) = Tokenizer::from_json(value, None) {
            let _ = tokenizer.encode("low lo<|endoftext|>é\n x");
            let _ = tokenizer.decode(&[TokenId(0), TokenId(259), TokenId(u32::MAX)]);
        }
    }
}

#[test]
fn endless_blanks_are_refused() {
    let error = small().encode(&format!("a{}b", "\n".repeat(MAX_BLANKS + 1))).unwrap_err().to_string();
    assert!(error.contains("blanks in a row"), "{error}");
    assert_eq!(longest_run_of_blanks(" a  b\u{3000}"), 3);
}

#[test]
fn hostile_vocab_and_merges_are_errors() {
    let cases = [
        ("{", "l o", "not JSON"),
        ("[]", "l o", "not an object"),
        (r#"{"l": 0, "o": 1}"#, "l o", "not a tokenizer"),
        (r#"{"l": 0, "o": 0}"#, "", "another token"),
        (r#"{"l": 0, "o": 1, "lo": 2}"#, "l o w", "line 1 is not two tokens"),
        (r#"{"l": 0, "o": 1, "lo": 2}"#, "#version: 0.2\nlo", "line 2 is not two tokens"),
        (r#"{"<|endoftext|>": -1}"#, "", "must be a whole number"),
    ];
    for (vocab, merges, expected) in cases {
        let dir = directory(&[("vocab.json", vocab), ("merges.txt", merges)]);
        let error = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(Tokenizer::from_dir(directory(&[]).path()).unwrap().is_none());
    assert!(Tokenizer::from_dir(Path::new("absent")).unwrap().is_none());
    let error = Tokenizer::from_dir(directory(&[("vocab.json", "{}")]).path()).unwrap_err().to_string();
    assert!(error.contains("no merges.txt"), "{error}");
    assert!(load(&json!({})).unwrap_err().to_string().contains("not ByteLevel"));
}

#[test]
fn an_empty_vocabulary_is_no_panic() {
    let dir = directory(&[("vocab.json", "{}"), ("merges.txt", "")]);
    let tokenizer = Tokenizer::from_dir(dir.path()).unwrap().unwrap();
    assert_eq!(tokenizer.vocab_size(), 0);
    assert!(tokenizer.encode("a").is_err());
    assert_eq!(tokenizer.decode(&[TokenId(0)]), "[0]");
}

#[test]
fn training_is_deterministic_and_saves_what_it_learnt() {
    let text = "the cat sat on the mat.\nthe dog and the cat; Zoë's café\n\n  the end\n".repeat(20);
    let dir = directory(&[("a.txt", &text), ("b.txt", "the cat")]);
    let files = [dir.path().join("a.txt"), dir.path().join("b.txt")];
    let tokenizer = train_bpe(&files, &BpeOptions::new(280)).unwrap();
    assert_eq!(tokenizer.vocab_size(), 280);
    assert_eq!(tokenizer.eos(), Some(TokenId(0)));
    assert_eq!(tokenizer.id_of("!"), Some(TokenId(1)));
    // The merges that Python's tokenizers 0.23 learns from these files.
    let learnt: Vec<String> = (257..280).map(|id| tokenizer.inner.id_to_token(id).unwrap()).collect();
    assert_eq!(learnt, PYTHON_MERGES);

    let first = tempfile::tempdir().unwrap();
    tokenizer.save(first.path()).unwrap();
    let reread = Tokenizer::from_dir(first.path()).unwrap().unwrap();
    let again = tempfile::tempdir().unwrap();
    reread.save(again.path()).unwrap();
    train_bpe(&files, &BpeOptions { vocab_size: 280, special: vec![END_OF_TEXT.to_owned()] })
        .unwrap()
        .save(again.path())
        .unwrap();
    for name in ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"] {
        let read = |dir: &tempfile::TempDir| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read(&first), read(&again), "{name}");
    }
    fs::remove_file(first.path().join("tokenizer.json")).unwrap();
    let from_parts = Tokenizer::from_dir(first.path()).unwrap().unwrap();
    let probe = "the cat's <|endoftext|>mat Zoë\n\n  x";
    let ids = tokenizer.encode(probe).unwrap();
    assert_eq!(reread.encode(probe).unwrap(), ids);
    assert_eq!(from_parts.encode(probe).unwrap(), ids);
    assert_eq!(tokenizer.decode(&ids), probe);
}

#[test]
fn training_refuses_what_it_cannot_do() {
    let dir = directory(&[("a.txt", "text\n")]);
    fs::write(dir.path().join("binary"), b"ok\n\xff\xfe\n").unwrap();
    let train = |name: &str, vocab_size, special: &[&str]| {
        let special = special.iter().map(|s| s.to_string()).collect();
        train_bpe(&[dir.path().join(name)], &BpeOptions { vocab_size, special }).unwrap_err().to_string()
    };
    assert!(train("a.txt", 256, &[]).contains("vocabulary size: 256 is not within 257"));
    assert!(train("a.txt", usize::MAX, &[]).contains("vocabulary size"));
    assert!(train("a.txt", 300, &["x", "x"]).contains("given twice"));
    assert!(train("a.txt", 300, &[""]).contains("empty"));
    assert!(train("absent", 300, &[]).contains("absent"));
    assert!(train("", 300, &[]).contains(": "));
    assert!(train("binary", 300, &[]).contains("binary: line 2 is not UTF-8"));
    assert!(train_bpe(&[], &BpeOptions::new(300)).unwrap_err().to_string().contains("no file"));
}

const PYTHON_MERGES: [&str; 23] = [
    "he", "the", "at", "Ġc", "Ġthe", "Ġcat", "nd", "'s", "Zo", "af", "and", "do", "end", "mat", "on", "sat",
    "Ã©", "Ã«", "ĠZo", "Ġand", "Ġdo", "Ġend", "Ġmat",
];

#[test]
fn settings_that_the_library_takes_on_trust_are_checked() {
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true});
    let with = |part: &str, value: Value| {
        let mut file = json!({"added_tokens": [], "pre_tokenizer": byte_level, "model": {"vocab": {"a": 0}, "merges": []}});
        file[part] = value;
        Tokenizer::from_json(file, None)
    };
    let before = |other: Value| json!({"type": "Sequence", "pretokenizers": [other, byte_level]});
    let split = |pattern: &str| {
        before(
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}),
        )
    };
    let refused = |part: &str, value: Value, reason: &str| {
        let error = with(part, value).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    refused(
        "pre_tokenizer",
        before(json!({"type": "FixedLength", "length": 0})),
        "FixedLength, which is not supported",
    );
    refused("pre_tokenizer", split("(?=a)(a*)*b"), "could take for ever");
    refused("pre_tokenizer", split(r"(a)\1"), "could take for ever");
    let published =
        r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    assert!(with("pre_tokenizer", split(published)).is_ok());

    let replace = |pattern: Value| json!({"type": "Replace", "pattern": pattern, "content": "b"});
    refused("normalizer", replace(json!({"Regex": "x*"})), "by a regular expression or an empty text");
    refused(
        "normalizer",
        json!({"type": "Sequence", "normalizers": [replace(json!({"String": ""}))]}),
        "empty text",
    );
    assert!(with("normalizer", replace(json!({"String": "x"}))).is_ok());
}
