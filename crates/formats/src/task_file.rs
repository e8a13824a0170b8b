//! Tasks: pairs of an input and the output that is right, as JSON lists (the format of the function-vectors data, Todd et
//! al. 2024).

use crate::FormatError;
use crate::bounded::{self, Limits, brief};
use serde_json::Value;
use std::path::Path;

/// Lists of words are small: the largest of the function-vectors data has 9 thousand pairs in 0.5 MB.
const FILE_LIMITS: Limits = Limits { bytes: 64 << 20, values: 4 << 20 };

/// One pair of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPair {
    /// What is asked.
    pub input: String,
    /// What is right.
    pub output: String,
}

/// Reads `[{"input": …, "output": …}, …]`. Numbers count as their text; blanks around a text are dropped.
///
/// # Errors
/// The entry that is not of the format is named by its place, from 0, and its field.
pub fn read_task(path: &Path) -> Result<Vec<TaskPair>, FormatError> {
    let value = bounded::read_json(path, FILE_LIMITS)?;
    let fail = |reason: String| FormatError::malformed(path, reason);
    let Value::Array(entries) = value else {
        return Err(fail("is not a list of {\"input\": …, \"output\": …}".to_owned()));
    };
    if entries.is_empty() {
        return Err(fail("has no entries".to_owned()));
    }
    entries
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            let field = |name: &str| {
                let text = match entry.get(name) {
                    Some(Value::String(text)) => text.trim().to_owned(),
                    Some(Value::Number(number)) => number.to_string(),
                    Some(other) => {
                        return Err(fail(format!("entry {at}: {name} is {}, not a text", brief(other))));
                    }
                    None => return Err(fail(format!("entry {at}: {name} is missing"))),
                };
                if text.is_empty() { Err(fail(format!("entry {at}: {name} is empty"))) } else { Ok(text) }
            };
            Ok(TaskPair { input: field("input")?, output: field("output")? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<TaskPair>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("task.json");
        std::fs::write(&path, content).unwrap();
        read_task(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_and_numbers() {
        let pairs =
            read(r#"[{"input": " big", "output": "small "}, {"input": 3, "output": "4", "note": 0}]"#)
                .unwrap();
        assert_eq!(pairs[0], TaskPair { input: "big".to_owned(), output: "small".to_owned() });
        assert_eq!(pairs[1], TaskPair { input: "3".to_owned(), output: "4".to_owned() });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_entry() {
        for (content, part) in [
            ("{", "is not JSON"),
            (r#"{"input": "a"}"#, "is not a list"),
            ("[]", "no entries"),
            (r#"[{"input": "a", "output": "b"}, {"input": "a"}]"#, "entry 1: output is missing"),
            (r#"[{"input": ["a"], "output": "b"}]"#, "entry 0: input is [\"a\"]"),
            (r#"[{"input": "a", "output": "  "}]"#, "entry 0: output is empty"),
            ("[3]", "entry 0: input is missing"),
        ] {
            let error = read(content).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
