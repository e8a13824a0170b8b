//! `tokenizer.json`, or `vocab.json` and `merges.txt`; with a text that is cut into tokens.

use super::{files, sound};
use retrograd_formats::{TokenId, Tokenizer};

const NAMES: [&str; 4] = ["tokenizer.json", "vocab.json", "merges.txt", "text"];

/// Texts that every tokenizer is given.
const TEXTS: [&str; 3] =
    ["Hello, world!\n\n  It's 2026. ", "ab<|endoftext|>ba", "\u{0}é\u{301}中\u{1F600}\t \u{a0}"];

/// Loads a tokenizer, cuts texts with it, and saves and loads it again.
pub fn tokenizer(bytes: &[u8]) {
    let found = files::split(bytes, &NAMES);
    let directory = files::directory(&found);
    let Some(tokenizer) = sound(Tokenizer::from_dir(directory.path())).flatten() else { return };
    let given = found.iter().find(|(name, _)| *name == "text").map(|(_, text)| String::from_utf8_lossy(text));
    let mut encoded = Vec::new();
    for text in TEXTS.into_iter().chain(given.as_deref()) {
        let Some(ids) = sound(tokenizer.encode(text)) else { continue };
        assert!(ids.iter().all(|id| (id.0 as usize) < tokenizer.vocab_size()));
        let whole = tokenizer.decode(&ids);
        let mut stream = tokenizer.stream();
        let mut streamed: String = ids.iter().map(|id| stream.push(*id)).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, whole);
        encoded.push((text, ids));
        sound(tokenizer.single_token(text));
    }
    tokenizer.token_text(TokenId(u32::MAX));
    tokenizer.eos();
    assert!(tokenizer.vocab_size() <= 1 << 22);

    let again = directory.path().join("again");
    std::fs::create_dir(&again).expect("a directory");
    if sound(tokenizer.save(&again)).is_none() {
        return;
    }
    let copy = Tokenizer::from_dir(&again).expect("our own files").expect("a tokenizer was saved");
    for (text, ids) in encoded {
        assert_eq!(copy.encode(text).expect("as before"), ids, "{text:?}");
    }
}
