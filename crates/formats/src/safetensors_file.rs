//! A safetensors file: mapped and checked for reading, laid out by hand for writing.

use crate::{Dtype, FormatError, WeightView};
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The length of the length of the header.
const PREFIX: usize = 8;
/// The format's own limit; the header of GPT-2 XL has 60 thousand bytes.
const MAX_HEADER: u64 = 100_000_000;
/// Tensors at most: the largest model that config.json may describe, of 1,024 blocks, makes traces of 20 thousand.
const MAX_TENSORS: usize = 1 << 17;

/// A mapped file whose header has been checked against its size.
#[derive(Debug)]
pub(crate) struct SafetensorsFile {
    path: PathBuf,
    map: Mmap,
    data_start: usize,
    header: Metadata,
}

impl SafetensorsFile {
    /// Maps the file and checks that its tensors fill it exactly.
    pub(crate) fn open(path: &Path) -> Result<Self, FormatError> {
        let malformed = |reason: String| FormatError::malformed(path, reason);
        let file = File::open(path).map_err(|source| FormatError::io(path, source))?;
        let metadata = file.metadata().map_err(|source| FormatError::io(path, source))?;
        if !metadata.is_file() {
            return Err(malformed("is not a file".to_owned()));
        }
        let size = metadata.len();
        if size == 0 {
            return Err(malformed("is empty".to_owned()));
        }
        if size < PREFIX as u64 {
            return Err(malformed(format!("has only {size} bytes: not a safetensors file")));
        }
        let map = map_file(&file).map_err(|source| FormatError::io(path, source))?;
        let (Some(prefix), true) = (map.first_chunk::<PREFIX>(), map.len() as u64 == size) else {
            return Err(malformed("changed while it was opened".to_owned()));
        };
        let length = u64::from_le_bytes(*prefix);
        if length > MAX_HEADER {
            return Err(malformed(format!(
                "claims a header of {length} bytes; the format allows {MAX_HEADER}: not a safetensors file, or damaged"
            )));
        }
        if length > size - PREFIX as u64 {
            return Err(malformed(format!(
                "claims a header of {length} bytes but has {size} in all: truncated, or not a safetensors file"
            )));
        }
        let data_start = PREFIX + length as usize;
        // Each tensor is an object; strings may have braces too, few. Counted before any is made.
        let objects = map[PREFIX..data_start].iter().filter(|byte| **byte == b'{').count();
        if objects > MAX_TENSORS {
            return Err(malformed(format!("has about {objects} tensors; {MAX_TENSORS} at most are read")));
        }
        let header: Metadata = serde_json::from_slice(&map[PREFIX..data_start])
            .map_err(|error| malformed(format!("has a damaged header: {error}")))?;
        let (described, held) = (header.data_len(), map.len() - data_start);
        if described > held {
            return Err(malformed(format!(
                "is truncated: its header describes {described} bytes of tensors, {held} are there"
            )));
        }
        if described < held {
            return Err(malformed(format!("has {} bytes after its last tensor: damaged", held - described)));
        }
        Ok(SafetensorsFile { path: path.to_owned(), map, data_start, header })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The strings of `__metadata__`.
    pub(crate) fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.header.metadata().as_ref()
    }

    /// The names of its tensors in the order in which they lie in the file.
    pub(crate) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Type, shape and place of a tensor.
    pub(crate) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// The bytes of a tensor of this file.
    pub(crate) fn bytes(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        // In range since open() compared the header with the file's size.
        &self.map[self.data_start + start..self.data_start + end]
    }

    /// Every byte of the file.
    pub(crate) fn whole(&self) -> &[u8] {
        &self.map
    }

    /// Where the bytes of a tensor begin in the file.
    pub(crate) fn start_of(&self, name: &str) -> Result<usize, FormatError> {
        match self.info(name) {
            Some(info) => Ok(self.data_start + info.data_offsets.0),
            None => Err(FormatError::malformed(&self.path, format!("has no tensor {name}"))),
        }
    }

    /// A floating-point tensor, under the name by which errors shall call it.
    pub(crate) fn float_view(&self, stored: &str, name: &str) -> Result<WeightView<'_>, FormatError> {
        let Some(info) = self.info(stored) else {
            return Err(FormatError::malformed(&self.path, format!("has no tensor {name}")));
        };
        let dtype = self.float_dtype(stored, info)?;
        Ok(WeightView {
            name: name.to_owned(),
            dtype,
            shape: info.shape.clone(),
            bytes: self.bytes(info),
            path: &self.path,
        })
    }

    /// The type of a tensor, which must be one of the three that weights come in.
    pub(crate) fn float_dtype(&self, stored: &str, info: &TensorInfo) -> Result<Dtype, FormatError> {
        match info.dtype {
            safetensors::Dtype::F32 => Ok(Dtype::F32),
            safetensors::Dtype::F16 => Ok(Dtype::F16),
            safetensors::Dtype::BF16 => Ok(Dtype::BF16),
            other => Err(FormatError::malformed(
                &self.path,
                format!("{stored} is of type {other}; only F32, F16 and BF16 are supported"),
            )),
        }
    }
}

/// The only place where a file is mapped.
fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private and read-only, and only ever seen as bytes, of which every value is valid.
    // What Rust cannot rule out is that another process changes or truncates the file meanwhile; weights and
    // traces are replaced by renaming (see `write_atomic`), which leaves a mapped file as it was.
    #[allow(unsafe_code, reason = "mapping a file")]
    unsafe {
        Mmap::map(file)
    }
}

/// A tensor of a file that is about to be written.
pub(crate) struct Entry {
    pub(crate) name: String,
    /// As safetensors spells it: `F32`, `F16`, `BF16`, `U32`.
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: u64,
}

/// Everything before the tensors' bytes, which must follow in the order of `entries`. The same input gives
/// the same bytes, and the tensors begin at a multiple of 8 so that they can be mapped as numbers.
pub(crate) fn header(metadata: &BTreeMap<&str, String>, entries: &[Entry]) -> Vec<u8> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut json = String::from("{\"__metadata__\":{");
    for (i, (key, value)) in metadata.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        json.push_str(&format!("{comma}{}:{}", quoted(key), quoted(value)));
    }
    json.push('}');
    let mut start = 0u64;
    for entry in entries {
        let end = start.saturating_add(entry.bytes);
        json.push_str(&format!(
            ",{}:{{\"dtype\":\"{}\",\"shape\":{:?},\"data_offsets\":[{start},{end}]}}",
            quoted(&entry.name),
            entry.dtype,
            entry.shape
        ));
        start = end;
    }
    json.push('}');
    let padded = json.len().next_multiple_of(PREFIX);
    let mut bytes = (padded as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(PREFIX + padded, b' ');
    bytes
}
