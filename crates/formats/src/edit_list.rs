//! Several edits in one file: JSON Lines, or a list.

use crate::bounded::brief;
use crate::counterfact::records;
use crate::{FormatError, TokenId};
use serde_json::Value;
use std::path::Path;

/// A text, or the tokens themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextOrIds {
    /// To be tokenised.
    Text(String),
    /// As they are.
    Ids(Vec<TokenId>),
}

/// One edit of a file: after the prompt, the model is to say the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditLine {
    /// Its place, for messages: `line 3`.
    pub place: String,
    /// `"prompt"` or `"ids"`.
    pub prompt: TextOrIds,
    /// `"target"` or `"target_id"`.
    pub target: TextOrIds,
}

/// Reads `{"prompt": …, "target": …}` records; `"ids": [3, 1]` and `"target_id": 5` may stand instead of either.
pub fn read_edit_list(path: &Path) -> Result<Vec<EditLine>, FormatError> {
    let line = |(place, value): (String, Value)| {
        let fail = |reason: String| FormatError::malformed(path, format!("{place}: {reason}"));
        let prompt = either(&value, ("prompt", "ids"), ids).map_err(fail)?;
        let target = either(&value, ("target", "target_id"), |value| Some(vec![id(value)?])).map_err(fail)?;
        Ok(EditLine { place, prompt, target })
    };
    records(path)?.into_iter().map(line).collect()
}

fn either(
    record: &Value,
    (text, number): (&str, &str),
    read: impl Fn(&Value) -> Option<Vec<TokenId>>,
) -> Result<TextOrIds, String> {
    match (record.get(text), record.get(number)) {
        (Some(Value::String(value)), None) if !value.is_empty() => Ok(TextOrIds::Text(value.clone())),
        (Some(_), None) => Err(format!("{text} is not a text")),
        (None, Some(value)) => match read(value) {
            Some(ids) if !ids.is_empty() => Ok(TextOrIds::Ids(ids)),
            _ => Err(format!("{number} is {}; expected token ids, whole numbers from 0", brief(value))),
        },
        (Some(_), Some(_)) => Err(format!("has both {text} and {number}: give one")),
        (None, None) => Err(format!("{text} (or {number}) is missing")),
    }
}

fn ids(value: &Value) -> Option<Vec<TokenId>> {
    value.as_array()?.iter().map(id).collect()
}

fn id(value: &Value) -> Option<TokenId> {
    Some(TokenId(u32::try_from(value.as_u64()?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<EditLine>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edits.jsonl");
        std::fs::write(&path, content).unwrap();
        read_edit_list(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_and_ids() {
        let edits =
            read("{\"prompt\": \"a\", \"target\": \" b\"}\n{\"ids\": [3, 1], \"target_id\": 2}\n").unwrap();
        assert_eq!(edits[0].prompt, TextOrIds::Text("a".to_owned()));
        assert_eq!(edits[1].prompt, TextOrIds::Ids(vec![TokenId(3), TokenId(1)]));
        assert_eq!(edits[1].target, TextOrIds::Ids(vec![TokenId(2)]));
        assert_eq!(edits[1].place, "line 2");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (line, part) in [
            ("{\"target\": \" b\"}", "prompt (or ids) is missing"),
            ("{\"prompt\": \"a\"}", "target (or target_id) is missing"),
            ("{\"prompt\": \"a\", \"target_id\": -1}", "target_id is -1"),
            ("{\"prompt\": 3, \"target\": \"b\"}", "prompt is not a text"),
            ("{\"prompt\": \"a\", \"ids\": [1], \"target\": \"b\"}", "both prompt and ids"),
            ("{\"ids\": [], \"target\": \"b\"}", "ids is []"),
        ] {
            let error = read(&format!("{{\"prompt\": \"a\", \"target\": \"b\"}}\n{line}")).unwrap_err();
            assert!(error.contains("line 2: ") && error.contains(part), "{error}");
        }
    }
}
