//! Writing a trace.

use super::{FORMAT, REVERSED, TraceFileError};
use crate::safetensors_file::{Entry, header};
use crate::{FormatError, RequestError, Site, TensorData, TraceMeta, TraceRead, write_atomic_with};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Bytes that are read from the trace at once: enough that a device is asked seldom, little enough that
/// a trace of any size passes through the host.
const BATCH_BYTES: u64 = 32 << 20;

/// Writes every tensor that `trace` holds. The file appears whole or not at all.
pub fn write(path: &Path, trace: &dyn TraceRead) -> Result<(), TraceFileError> {
    let meta = trace.meta();
    let sites = trace.sites();
    let mut entries = Vec::with_capacity(sites.len());
    for site in &sites {
        let shape = site.shape(&meta.config, meta.ids.len(), meta.objective.count);
        let elements = shape.iter().try_fold(4u64, |bytes, &extent| bytes.checked_mul(extent as u64));
        let Some(bytes) = elements else {
            return Err(FormatError::malformed(path, format!("{site} is too large for a file")).into());
        };
        let dtype = if *site == Site::Tokens { "U32" } else { "F32" };
        entries.push(Entry { name: site.to_string(), dtype, shape, bytes });
    }

    // What went wrong in the trace rather than in the file.
    let mut unreadable: Option<RequestError> = None;
    let written = write_atomic_with(path, |out| {
        out.write_all(&header(&metadata(meta), &entries))?;
        for batch in batches(&entries) {
            let tensors = trace.read_all(&sites[batch.clone()]).and_then(|tensors| {
                if tensors.len() == batch.len() {
                    Ok(tensors)
                } else {
                    Err(RequestError::invalid(
                        "trace",
                        "returned another number of tensors than it was asked for",
                    ))
                }
            });
            let tensors = match tensors {
                Ok(tensors) => tensors,
                Err(error) => {
                    unreadable = Some(error);
                    return Err(io::Error::other("the trace could not be read"));
                }
            };
            for (entry, tensor) in entries[batch].iter().zip(tensors) {
                let (dtype, bytes) = match &tensor.data {
                    TensorData::F32(values) => ("F32", little_endian(values, |x| x.to_le_bytes())),
                    TensorData::U32(values) => ("U32", little_endian(values, |x| x.to_le_bytes())),
                };
                if tensor.shape != entry.shape || dtype != entry.dtype || bytes.len() as u64 != entry.bytes {
                    unreadable = Some(RequestError::invalid(
                        entry.name.clone(),
                        format!(
                            "came from the trace as {dtype} {:?} instead of {:?}",
                            tensor.shape, entry.shape
                        ),
                    ));
                    return Err(io::Error::other("the trace could not be read"));
                }
                out.write_all(&bytes)?;
            }
        }
        Ok(())
    });
    match unreadable {
        Some(error) => Err(error.into()),
        None => Ok(written?),
    }
}

fn metadata(meta: &TraceMeta) -> BTreeMap<&'static str, String> {
    let mut metadata = BTreeMap::from([
        ("format", FORMAT.to_owned()),
        ("retrograd", env!("CARGO_PKG_VERSION").to_owned()),
        ("model", meta.model.clone()),
        ("objective", meta.objective.to_json().to_string()),
        ("reversed", REVERSED.to_owned()),
        ("adapter", meta.adapter.clone()),
        ("driver", meta.driver.clone()),
        ("config", meta.config.to_hf_json().to_string()),
    ]);
    if let Some(prompt) = &meta.prompt {
        metadata.insert("prompt", prompt.clone());
    }
    metadata
}

/// Consecutive ranges of entries of at most [`BATCH_BYTES`], or of one entry that is larger.
fn batches(entries: &[Entry]) -> Vec<std::ops::Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (i, entry) in entries.iter().enumerate() {
        if i > start && bytes.saturating_add(entry.bytes) > BATCH_BYTES {
            batches.push(start..i);
            (start, bytes) = (i, 0);
        }
        bytes = bytes.saturating_add(entry.bytes);
    }
    if start < entries.len() {
        batches.push(start..entries.len());
    }
    batches
}

fn little_endian<T: bytemuck::NoUninit>(
    values: &[T],
    swap: impl Fn(&T) -> [u8; 4],
) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        std::borrow::Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        values.iter().flat_map(swap).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_everything_once() {
        let entry = |bytes| Entry { name: String::new(), dtype: "F32", shape: vec![], bytes };
        let sizes = [1, 40 << 20, 1, 31 << 20, 2 << 20, 1];
        let entries: Vec<Entry> = sizes.into_iter().map(entry).collect();
        assert_eq!(batches(&entries), [0..1, 1..2, 2..4, 4..6]);
        assert!(batches(&[]).is_empty());
    }
}
