//! Whether a file is the one it was.

use retrograd_formats::FormatError;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::Hasher;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of a sample.
const SAMPLE: u64 = 256;
/// Samples of a file: a mebibyte in all, so that gigabytes of weights take no time, and no edited matrix hides between two.
const SAMPLES: u64 = 4096;

/// Size and evenly spaced samples of some files, as a short text. Small files are read whole.
pub(crate) fn of_files(paths: &[std::path::PathBuf]) -> Result<String, FormatError> {
    // SipHash with fixed keys: the same in every process of one version.
    let mut hasher = DefaultHasher::new();
    for path in paths {
        sample(path, &mut hasher).map_err(|error| FormatError::io(path, error))?;
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn sample(path: &Path, hasher: &mut DefaultHasher) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    hasher.write_u64(size);
    let mut bytes = Vec::with_capacity(SAMPLE as usize);
    let step = (size / SAMPLES).max(SAMPLE);
    let mut at = 0;
    while at < size {
        file.seek(SeekFrom::Start(at))?;
        bytes.clear();
        (&mut file).take(SAMPLE).read_to_end(&mut bytes)?;
        hasher.write(&bytes);
        at += step;
    }
    // The end, which is a Parquet file's table of contents.
    file.seek(SeekFrom::Start(size.saturating_sub(SAMPLE)))?;
    bytes.clear();
    file.take(SAMPLE).read_to_end(&mut bytes)?;
    hasher.write(&bytes);
    Ok(())
}

/// The files that make a model: its configuration, tokenizer and weights.
pub(crate) fn of_model(dir: &Path) -> Result<String, FormatError> {
    let entries = std::fs::read_dir(dir).map_err(|error| FormatError::io(dir, error))?;
    let ours = |path: &std::path::PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".safetensors")
            || ["config.json", "tokenizer.json", "vocab.json", "merges.txt"].contains(&name)
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(ours).collect();
    paths.sort();
    of_files(&paths)
}
