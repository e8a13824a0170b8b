//! Files in the format of CounterFact (Meng et al., *Locating and Editing Factual Associations in GPT*, 2022):
//! facts to be replaced, and what to ask before and after.

use crate::FormatError;
use crate::bounded::{self, Limits};
use serde_json::Value;
use std::path::Path;

/// The published file has 45 MB and 1.6 million values.
const FILE_LIMITS: Limits = Limits { bytes: 256 << 20, values: 8 << 20 };

/// One fact to be replaced.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterFact {
    /// What the file calls the record.
    pub case_id: u64,
    /// The prompt, with `{}` where the subject goes.
    pub prompt: String,
    /// What the fact is about.
    pub subject: String,
    /// The answer that the edit is to bring about.
    pub target_new: String,
    /// The answer that is right.
    pub target_true: String,
    /// The same question in other words.
    pub paraphrase_prompts: Vec<String>,
    /// Other subjects, whose answers the edit is to leave alone.
    pub neighborhood_prompts: Vec<String>,
    /// The right answer of each neighbour. CounterFact's own neighbours all share `target_true`; a file whose
    /// neighbours do not has them in `neighborhood_targets`.
    pub neighborhood_targets: Vec<String>,
    /// Beginnings of texts about the subject.
    pub generation_prompts: Vec<String>,
}

impl CounterFact {
    /// The prompt about the subject.
    pub fn rewrite_prompt(&self) -> String {
        self.prompt.replacen("{}", &self.subject, 1)
    }
}

/// Reads a file: a JSON list of records, or JSON Lines with a record on each line.
///
/// # Errors
/// A record that lacks a field, or has one of the wrong type, is named with its place (`line 12` of JSON Lines,
/// `record 11`, from 0, of a list) and the field.
pub fn read_counterfact(path: &Path) -> Result<Vec<CounterFact>, FormatError> {
    records(path)?
        .into_iter()
        .map(|(place, value)| {
            Record(&value).read().map_err(|reason| FormatError::malformed(path, format!("{place}: {reason}")))
        })
        .collect()
}

/// The objects of a JSON list or of JSON Lines, each with the words for its place. An empty file is an error.
pub(crate) fn records(path: &Path) -> Result<Vec<(String, Value)>, FormatError> {
    let malformed = |reason: String| FormatError::malformed(path, reason);
    let text = &bounded::read_text(path, FILE_LIMITS.bytes)?;
    bounded::check_values(path, text.as_bytes(), FILE_LIMITS)?;
    let mut found = Vec::new();
    if text.trim_start().starts_with('[') {
        let list: Vec<Value> =
            serde_json::from_str(text).map_err(|error| malformed(format!("is not JSON: {error}")))?;
        found.extend(list.into_iter().enumerate().map(|(at, value)| (format!("record {at}"), value)));
    } else {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = format!("line {}", at + 1);
            let value = serde_json::from_str(line).map_err(|error| {
                // The column alone: within a line, serde_json counts lines from 1 again.
                malformed(format!("{place}: is not JSON (column {}): {}", error.column(), cause(&error)))
            })?;
            found.push((place, value));
        }
    }
    if found.is_empty() {
        return Err(malformed("has no records".to_owned()));
    }
    Ok(found)
}

fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line").next().unwrap_or_default().to_owned()
}

/// A record, its fields found by JSON pointer.
struct Record<'a>(&'a Value);

impl Record<'_> {
    fn read(&self) -> Result<CounterFact, String> {
        if !self.0.is_object() {
            return Err("is not a JSON object".to_owned());
        }
        let prompt = self.text("/requested_rewrite/prompt")?;
        if prompt.matches("{}").count() != 1 {
            return Err(format!(
                "requested_rewrite.prompt is '{prompt}'; it must have {{}} once, where the subject goes"
            ));
        }
        let target_true = self.text("/requested_rewrite/target_true/str")?;
        let neighborhood_prompts = self.texts("/neighborhood_prompts")?;
        let neighborhood_targets = match self.0.pointer("/neighborhood_targets") {
            None => vec![target_true.clone(); neighborhood_prompts.len()],
            Some(_) => self.texts("/neighborhood_targets")?,
        };
        if neighborhood_targets.len() != neighborhood_prompts.len() {
            return Err(format!(
                "neighborhood_targets has {} entries, neighborhood_prompts {}: one each is needed",
                neighborhood_targets.len(),
                neighborhood_prompts.len()
            ));
        }
        Ok(CounterFact {
            case_id: self
                .field("/case_id")?
                .as_u64()
                .ok_or("case_id is not a whole number from 0".to_owned())?,
            prompt,
            subject: self.text("/requested_rewrite/subject")?,
            target_new: self.text("/requested_rewrite/target_new/str")?,
            target_true,
            paraphrase_prompts: self.texts("/paraphrase_prompts")?,
            neighborhood_prompts,
            neighborhood_targets,
            generation_prompts: self.texts("/generation_prompts")?,
        })
    }

    fn field(&self, pointer: &str) -> Result<&Value, String> {
        self.0.pointer(pointer).ok_or_else(|| format!("{} is missing", dotted(pointer)))
    }

    fn text(&self, pointer: &str) -> Result<String, String> {
        match self.field(pointer)?.as_str() {
            Some("") => Err(format!("{} is empty", dotted(pointer))),
            Some(text) => Ok(text.to_owned()),
            None => Err(format!("{} is not a string", dotted(pointer))),
        }
    }

    fn texts(&self, pointer: &str) -> Result<Vec<String>, String> {
        let list = self
            .field(pointer)?
            .as_array()
            .ok_or_else(|| format!("{} is not a list of strings", dotted(pointer)))?;
        let text = |(at, value): (usize, &Value)| match value.as_str() {
            Some("") => Err(format!("{}[{at}] is empty", dotted(pointer))),
            Some(text) => Ok(text.to_owned()),
            None => Err(format!("{}[{at}] is not a string", dotted(pointer))),
        };
        list.iter().enumerate().map(text).collect()
    }
}

/// `/a/b` as people write it: `a.b`.
pub(crate) fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sound() -> Value {
        json!({
            "case_id": 3,
            "requested_rewrite": {
                "prompt": "The capital of {} is", "subject": "France", "relation_id": "P36",
                "target_new": {"str": "Rome", "id": "Q220"}, "target_true": {"str": "Paris", "id": "Q90"},
            },
            "paraphrase_prompts": ["In France the capital is"],
            "neighborhood_prompts": ["The capital of Italy is", "The capital of Spain is"],
            "attribute_prompts": [],
            "generation_prompts": ["In France"],
        })
    }

    fn read(content: &str) -> Result<Vec<CounterFact>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("facts.json");
        std::fs::write(&path, content).unwrap();
        read_counterfact(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_and_lines_read_alike() {
        let other = json!({"case_id": 4}).as_object().cloned().unwrap();
        let mut second = sound();
        second.as_object_mut().unwrap().extend(other);
        second["neighborhood_targets"] = json!(["Rome", "Madrid"]);
        let list = read(&json!([sound(), second]).to_string()).unwrap();
        let lines = read(&format!("{}\n\n{second}\n", sound())).unwrap();
        assert_eq!(list, lines);
        assert_eq!(list[0].rewrite_prompt(), "The capital of France is");
        assert_eq!(list[0].neighborhood_targets, ["Paris", "Paris"]);
        assert_eq!((list[1].case_id, list[1].neighborhood_targets[1].as_str()), (4, "Madrid"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let fails = |change: &dyn Fn(&mut Value), part: &str| {
            let mut bad = sound();
            change(&mut bad);
            let error = read(&json!([sound(), bad]).to_string()).unwrap_err();
            assert!(error.contains("record 1: ") && error.contains(part), "{error}");
            let error = read(&format!("{}\n\n{bad}", sound())).unwrap_err();
            assert!(error.contains("line 3: ") && error.contains(part), "{error}");
        };
        for field in ["case_id", "paraphrase_prompts", "neighborhood_prompts", "generation_prompts"] {
            fails(&|bad| drop(bad.as_object_mut().unwrap().remove(field)), &format!("{field} is missing"));
        }
        fails(
            &|bad| drop(bad["requested_rewrite"].as_object_mut().unwrap().remove("target_new")),
            "requested_rewrite.target_new.str is missing",
        );
        fails(
            &|bad| bad["requested_rewrite"]["subject"] = json!(3),
            "requested_rewrite.subject is not a string",
        );
        fails(&|bad| bad["requested_rewrite"]["prompt"] = json!("The capital is"), "must have {} once");
        fails(&|bad| bad["paraphrase_prompts"] = json!(["a", ""]), "paraphrase_prompts[1] is empty");
        fails(&|bad| bad["generation_prompts"] = json!("a"), "generation_prompts is not a list");
        fails(&|bad| bad["neighborhood_targets"] = json!(["a"]), "1 entries, neighborhood_prompts 2");
        fails(&|bad| *bad = json!(5), "is not a JSON object");
        assert!(read("").unwrap_err().contains("no records"));
        assert!(read("[]").unwrap_err().contains("no records"));
        assert!(read("[{").unwrap_err().contains("not JSON"));
        assert!(read("{\"case_id\": 1,}").unwrap_err().contains("line 1: is not JSON"));
    }
}
