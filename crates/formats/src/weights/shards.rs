//! Weights spread over several files, which `model.safetensors.index.json` lists.

use crate::FormatError;
use crate::bounded::{self, Limits, brief};
use crate::safetensors_file::SafetensorsFile;
use std::collections::BTreeMap;
use std::path::{Component, Path};

/// The index of GPT-2 XL would have 60 kB and 600 values. The largest model that config.json may describe has 12 thousand
/// tensors.
const INDEX_LIMITS: Limits = Limits { bytes: 16 << 20, values: 1 << 17 };
/// Shards at most: models of a hundred times this project's size have some dozens.
const MAX_SHARDS: usize = 1024;

/// Opens every shard of an index and checks that each tensor is where the index says.
pub(super) fn open(dir: &Path, index: &Path) -> Result<Vec<SafetensorsFile>, FormatError> {
    let malformed = |reason: String| FormatError::malformed(index, reason);
    let value = bounded::read_json(index, INDEX_LIMITS)?;
    let Some(map) = value.get("weight_map").and_then(serde_json::Value::as_object) else {
        return Err(malformed("has no weight_map".to_owned()));
    };

    let mut tensors_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, shard) in map {
        let Some(shard) = shard.as_str() else {
            return Err(malformed(format!("the shard of {tensor} is {}, not a file name", brief(shard))));
        };
        if !is_plain_name(shard) {
            return Err(malformed(format!(
                "the shard of {tensor} is '{shard}'; it must be the name of a file in the same directory"
            )));
        }
        tensors_of.entry(shard).or_default().push(tensor);
    }

    if tensors_of.len() > MAX_SHARDS {
        return Err(malformed(format!("names {} shards; {MAX_SHARDS} at most are opened", tensors_of.len())));
    }

    let mut files = Vec::with_capacity(tensors_of.len());
    for (shard, tensors) in tensors_of {
        let path = dir.join(shard);
        if !path.is_file() {
            return Err(malformed(format!("names the shard '{shard}', which is not in the directory")));
        }
        let file = SafetensorsFile::open(&path)?;
        if let Some(absent) = tensors.into_iter().find(|tensor| file.info(tensor).is_none()) {
            return Err(malformed(format!("says that {absent} is in '{shard}', but it is not")));
        }
        files.push(file);
    }
    Ok(files)
}

/// A single ordinary path component, on every system: an index must not reach outside its directory.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let single = matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none();
    single && !name.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::is_plain_name;

    #[test]
    fn plain_names() {
        assert!(is_plain_name("model-00001-of-00002.safetensors"));
        for name in ["", ".", "..", "../x", "/x", "a/b", "a/", "./a", "a\\b", "C:x", "a\0b", "a\u{1b}b"] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
