//! A model directory with some of its tensors changed and everything else as it was.

use super::view::{Dtype, first_not_finite};
use super::{Weights, write::convert};
use crate::{AtomicDir, Config, FormatError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A tensor to be changed.
#[derive(Clone, Copy, Debug)]
pub struct TensorEdit<'a> {
    /// Canonical name.
    pub name: &'a str,
    /// What its values were taken for; those of the file, unless they were rounded on the way.
    pub before: &'a [f32],
    /// What they are to be.
    pub after: &'a [f32],
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedModel {
    /// Tensors that were rewritten.
    pub tensors: usize,
    /// Weight files in which they lie.
    pub rewritten: Vec<String>,
    /// Files that were carried over byte for byte.
    pub copied: Vec<String>,
    /// Bytes of everything.
    pub bytes: u64,
}

/// Files that hold the weights once more, unedited, in formats that are not read here: not carried over.
const OTHER_WEIGHTS: [&str; 8] = ["bin", "pt", "pth", "h5", "msgpack", "onnx", "ot", "tflite"];

/// Writes `target`, which must not exist or be empty: the model directory `source` with some tensors changed.
///
/// A weight file with a changed tensor is the old one but for that tensor's bytes: header, type, order and
/// every other tensor stay. All other files of the directory are copied, but for subdirectories, hidden files
/// and weights in other formats, which would still be the old ones. `extra` files (name, content) are added.
///
/// An element whose value in the file is `before` becomes `after`; one that had been rounded to `before`
/// changes by the difference. Then it is rounded to the type of the file.
///
/// # Errors
/// When a value is not finite or too large for the file's type, or something cannot be written; nothing is
/// left of the directory then.
pub fn write_edited_model(
    source: &Path,
    target: &Path,
    edits: &[TensorEdit<'_>],
    extra: &[(&str, &[u8])],
) -> Result<EditedModel, FormatError> {
    let config = Config::from_dir(source)?;
    let weights = Weights::open(source, &config)?;
    // By file, then by where in the file: new bytes.
    let mut changes: BTreeMap<usize, BTreeMap<usize, Vec<u8>>> = BTreeMap::new();
    for edit in edits {
        let (file, start, bytes) = changed_bytes(&weights, target, edit)?;
        changes.entry(file).or_default().insert(start, bytes);
    }

    let directory = AtomicDir::new(target)?;
    // The directory is filled under another name; errors speak of the one that was asked for.
    let failed = |name: &str, source| FormatError::io(target.join(name), source);
    let mut written =
        EditedModel { tensors: edits.len(), rewritten: Vec::new(), copied: Vec::new(), bytes: 0 };
    let shards: BTreeSet<PathBuf> = weights.files.iter().map(|file| file.path().to_owned()).collect();
    for (index, file) in weights.files.iter().enumerate() {
        let Some(changes) = changes.get(&index) else { continue };
        let name =
            file.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        splice(&directory.path().join(&name), file.whole(), changes).map_err(|e| failed(&name, e))?;
        written.rewritten.push(name);
    }
    let entries = fs::read_dir(source).map_err(|error| FormatError::io(source, error))?;
    for entry in entries {
        let path = entry.map_err(|error| FormatError::io(source, error))?.path();
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let added = extra.iter().any(|(extra, _)| *extra == name);
        if added || written.rewritten.contains(&name) || !is_carried(&path, &name, &shards) {
            continue;
        }
        fs::copy(&path, directory.path().join(&name)).map_err(|error| failed(&name, error))?;
        written.copied.push(name);
    }
    for (name, content) in extra {
        fs::write(directory.path().join(name), content).map_err(|error| failed(name, error))?;
    }
    for name in written.rewritten.iter().chain(&written.copied) {
        let file = fs::metadata(directory.path().join(name)).map_err(|error| failed(name, error))?;
        written.bytes += file.len();
    }
    written.copied.sort();
    directory.commit()?;
    Ok(written)
}

/// Whether a file goes with the model.
fn is_carried(path: &Path, name: &str, shards: &BTreeSet<PathBuf>) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let extension = extension.unwrap_or_default();
    let other_weights = OTHER_WEIGHTS.contains(&extension.as_str())
        || (extension == "safetensors" && !shards.contains(path))
        || (name.ends_with(".index.json") && name != "model.safetensors.index.json");
    // Follows links: the directories of download caches consist of them.
    path.is_file() && !name.starts_with('.') && !other_weights
}

/// The file, the place in it and the new bytes of a tensor.
fn changed_bytes(
    weights: &Weights,
    target: &Path,
    edit: &TensorEdit<'_>,
) -> Result<(usize, usize, Vec<u8>), FormatError> {
    let view = weights.get(edit.name)?;
    let stored = view.to_f32()?;
    let fail = |reason: String| {
        Err(FormatError::malformed(target, format!("is not written: {}: {reason}", edit.name)))
    };
    if edit.before.len() != stored.len() || edit.after.len() != stored.len() {
        return fail(format!("has {} values, the edit {}", stored.len(), edit.after.len()));
    }
    if let Some(at) = first_not_finite(edit.after) {
        return fail(format!("element {at} becomes {}; lower eta", edit.after[at]));
    }
    let new: Vec<f32> = stored
        .iter()
        .zip(edit.before.iter().zip(edit.after))
        .map(|(stored, (before, after))| {
            if stored == before {
                *after
            } else {
                (f64::from(*stored) + (f64::from(*after) - f64::from(*before))) as f32
            }
        })
        .collect();
    let dtype: Dtype = view.dtype;
    let bytes = match convert(&new, dtype) {
        Ok(bytes) => bytes.into_owned(),
        Err(at) => {
            return fail(format!(
                "element {at} becomes {}, too large for {}; lower eta",
                new[at],
                dtype.name()
            ));
        }
    };
    let Some(place) = weights.places.get(edit.name) else {
        return fail("the model has no such parameter".to_owned());
    };
    let start = weights.files[place.file].start_of(&place.stored)?;
    Ok((place.file, start, bytes))
}

/// Writes `whole` with some stretches replaced by others of the same length.
fn splice(path: &Path, whole: &[u8], changes: &BTreeMap<usize, Vec<u8>>) -> std::io::Result<()> {
    // 1 MiB: large enough that tensors go out in few system calls.
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
    let mut at = 0;
    for (start, bytes) in changes {
        out.write_all(&whole[at..*start])?;
        out.write_all(bytes)?;
        at = start + bytes.len();
    }
    out.write_all(&whole[at..])?;
    out.flush()
}
