//! A long piece of work that can be broken off: what is done stands in a file, beside what was asked for.

use crate::bounded::{self, Limits, brief};
use crate::{FormatError, write_atomic};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A study of every head of the largest model that is supported has some ten thousand results.
const FILE_LIMITS: Limits = Limits { bytes: 256 << 20, values: 8 << 20 };

/// Results by name, in a JSON file that is written anew after each; with the options that they belong to.
///
/// ```
/// use retrograd_formats::Ledger;
/// use serde_json::json;
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("progress.json");
/// let mut ledger = Ledger::open(&path, json!({"seed": 1}))?;
/// let squared: u32 = ledger.entry("7", || Ok::<_, retrograd_formats::FormatError>(49))?;
/// let again = Ledger::open(&path, json!({"seed": 1}))?.entry("7", || Ok::<_, retrograd_formats::FormatError>(0))?;
/// assert_eq!((squared, again), (49, 49)); // not computed a second time
/// assert!(Ledger::open(&path, json!({"seed": 2})).is_err()); // belongs to other options
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    options: Value,
    done: Map<String, Value>,
}

impl Ledger {
    /// Goes on with what the file has, or begins where there is none.
    ///
    /// # Errors
    /// When the file is there and belongs to other options: the first that differs is named.
    pub fn open(path: &Path, options: Value) -> Result<Self, FormatError> {
        if let Err(error) = std::fs::metadata(path)
            && error.kind() == std::io::ErrorKind::NotFound
        {
            return Ok(Ledger { path: path.to_owned(), options, done: Map::new() });
        }
        let bytes = bounded::read(path, FILE_LIMITS.bytes)?;
        bounded::check_values(path, &bytes, FILE_LIMITS)?;
        let wrong = |reason: String| FormatError::malformed(path, reason);
        let not_ours = || wrong("is not the progress of an earlier run; choose another directory".to_owned());
        let mut value: Value = serde_json::from_slice(&bytes).map_err(|_| not_ours())?;
        let (Some(had), Some(Value::Object(done))) =
            (value.get("options").cloned(), value.get_mut("done").map(Value::take))
        else {
            return Err(not_ours());
        };
        if let Some(difference) = difference(&had, &options) {
            return Err(wrong(format!(
                "belongs to a run with other options ({difference}): repeat those, or choose another directory"
            )));
        }
        Ok(Ledger { path: path.to_owned(), options, done })
    }

    /// Results that are there.
    pub fn len(&self) -> usize {
        self.done.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
    }

    /// Whether a result is there.
    pub fn has(&self, name: &str) -> bool {
        self.done.contains_key(name)
    }

    /// The result of this name: from the file, or computed and written there.
    ///
    /// # Errors
    /// Those of `compute`; when the file cannot be written, or what it has under this name is something else.
    pub fn entry<T, E>(&mut self, name: &str, compute: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<FormatError>,
    {
        let wrong = |error: serde_json::Error| {
            E::from(FormatError::malformed(&self.path, format!("{name}: {error}")))
        };
        if let Some(value) = self.done.get(name) {
            return serde_json::from_value(value.clone()).map_err(wrong);
        }
        let result = compute()?;
        let value = serde_json::to_value(&result).map_err(wrong)?;
        self.done.insert(name.to_owned(), value);
        self.write()?;
        Ok(result)
    }

    fn write(&self) -> Result<(), FormatError> {
        let document = serde_json::json!({ "options": self.options, "done": self.done });
        write_atomic(&self.path, document.to_string().as_bytes())
    }
}

/// The first field in which two sets of options differ.
fn difference(had: &Value, given: &Value) -> Option<String> {
    if had == given {
        return None;
    }
    let (Value::Object(a), Value::Object(b)) = (had, given) else {
        return Some(format!("{} instead of {}", brief(had), brief(given)));
    };
    first_difference("", a, b)
}

/// The same of two objects, at any depth: `task.seed was 1 and is now 2`.
fn first_difference(path: &str, had: &Map<String, Value>, given: &Map<String, Value>) -> Option<String> {
    let shown = |value: Option<&Value>| value.map_or("nothing".to_owned(), brief);
    let name = had.keys().chain(given.keys()).find(|name| had.get(*name) != given.get(*name))?;
    match (had.get(name), given.get(name)) {
        (Some(Value::Object(had)), Some(Value::Object(given))) => {
            first_difference(&format!("{path}{name}."), had, given)
        }
        (had, given) => Some(format!("{path}{name} was {} and is now {}", shown(had), shown(given))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_same_options_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress.json");
        let mut ledger = Ledger::open(&path, json!({"seed": 1, "alpha": [1.0, -2.0]})).unwrap();
        assert!(ledger.is_empty() && !ledger.has("a"));
        assert_eq!(ledger.entry("a", || Ok::<f64, FormatError>(0.1 + 0.2)).unwrap(), 0.1 + 0.2);
        // One that serde_json reads as its neighbour unless it is asked to be exact.
        let exact = -0.9454004271737808;
        ledger.entry("b", || Ok::<f64, FormatError>(exact)).unwrap();
        let mut again = Ledger::open(&path, json!({"alpha": [1.0, -2.0], "seed": 1})).unwrap();
        assert!(again.has("a") && again.len() == 2);
        let kept: f64 = again.entry("a", || Err(FormatError::malformed("x", "computed"))).unwrap();
        assert_eq!(kept.to_bits(), (0.1f64 + 0.2).to_bits());
        let kept: f64 = again.entry("b", || Err(FormatError::malformed("x", "computed"))).unwrap();
        assert_eq!(kept.to_bits(), exact.to_bits());
        let error = Ledger::open(&path, json!({"seed": 2, "alpha": [1.0, -2.0]})).unwrap_err().to_string();
        assert!(error.contains("seed was 1 and is now 2"), "{error}");
        let nested = |seed: u32| json!({"task": {"name": "x".repeat(100), "seed": seed}});
        let other = dir.path().join("nested.json");
        Ledger::open(&other, nested(1)).unwrap().entry("a", || Ok::<u32, FormatError>(1)).unwrap();
        let error = Ledger::open(&other, nested(2)).unwrap_err().to_string();
        assert!(error.contains("(task.seed was 1 and is now 2)"), "{error}");
        std::fs::write(&path, "[1, 2]").unwrap();
        assert!(Ledger::open(&path, json!({})).unwrap_err().to_string().contains("another directory"));
    }

    #[test]
    fn every_number_comes_back_with_its_bits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress.json");
        // Bits from all over, by a multiplicative generator (Knuth's constants).
        let bits = (0..20_000u64).scan(1u64, |state, _| {
            *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            Some(*state)
        });
        let numbers: Vec<f64> = bits.map(f64::from_bits).filter(|number| number.is_finite()).collect();
        let write = || Ok::<_, FormatError>(numbers.clone());
        Ledger::open(&path, json!({})).unwrap().entry("a", write).unwrap();
        let nothing = || Ok::<Vec<f64>, FormatError>(Vec::new());
        let kept = Ledger::open(&path, json!({})).unwrap().entry("a", nothing).unwrap();
        assert!(kept.iter().map(|x| x.to_bits()).eq(numbers.iter().map(|x| x.to_bits())));
    }

    #[test]
    fn what_fails_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress.json");
        let mut ledger = Ledger::open(&path, json!({})).unwrap();
        assert!(ledger.entry("a", || Err::<u32, _>(FormatError::malformed("x", "no"))).is_err());
        assert!(!ledger.has("a") && !path.exists());
    }
}
