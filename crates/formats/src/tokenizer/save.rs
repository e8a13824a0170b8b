//! Writing a tokenizer's files.

use super::{END_OF_TEXT, Tokenizer};
use crate::{FormatError, write_atomic};
use serde_json::{Value, json};
use std::path::Path;

impl Tokenizer {
    /// Writes `tokenizer.json`, `vocab.json`, `merges.txt` and `tokenizer_config.json` into `dir`, which must
    /// exist, as transformers and [`from_dir`](Tokenizer::from_dir) read them.
    pub fn save(&self, dir: &Path) -> Result<(), FormatError> {
        // The library would write what is missing to standard output, where documents go.
        let vocab = self.inner.get_vocab(false);
        let size = vocab.values().max().map_or(0, |largest| *largest as usize + 1);
        if vocab.len() < size {
            let mut ids: Vec<u32> = vocab.into_values().collect();
            ids.sort_unstable();
            let gap = ids.iter().zip(0..).find(|(id, at)| *id != at).map_or(0, |(_, at)| at);
            return Err(FormatError::malformed(
                self.place(),
                format!(
                    "cannot be written: no token of its model has the id {gap}, though others have larger ones"
                ),
            ));
        }
        let value = serde_json::to_value(&self.inner)
            .map_err(|error| FormatError::malformed(self.place(), format!("cannot be written: {error}")))?;

        let mut merges = String::from("#version: 0.2\n");
        for pair in value.pointer("/model/merges").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(left), Some(right)) =
                (pair.get(0).and_then(Value::as_str), pair.get(1).and_then(Value::as_str))
            {
                merges.push_str(&format!("{left} {right}\n"));
            }
        }

        let mut vocab: Vec<(String, u32)> = self.inner.get_vocab(true).into_iter().collect();
        vocab.sort_by_key(|(_, id)| *id);
        let entries: Vec<String> =
            vocab.iter().map(|(token, id)| format!("{}: {id}", Value::from(token.as_str()))).collect();

        let config = match self.eos() {
            // The class takes this token for granted and would add it.
            Some(_) => json!({
                "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": false,
                "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT,
            }),
            None => json!({"tokenizer_class": "PreTrainedTokenizerFast"}),
        };

        let pretty =
            |value: &Value| serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()) + "\n";
        let whole = self
            .inner
            .to_string(true)
            .map_err(|error| FormatError::malformed(self.place(), format!("cannot be written: {error}")))?;
        write_atomic(&dir.join("tokenizer.json"), whole.as_bytes())?;
        write_atomic(&dir.join("vocab.json"), format!("{{{}}}\n", entries.join(", ")).as_bytes())?;
        write_atomic(&dir.join("merges.txt"), merges.as_bytes())?;
        write_atomic(&dir.join("tokenizer_config.json"), pretty(&config).as_bytes())
    }
}
