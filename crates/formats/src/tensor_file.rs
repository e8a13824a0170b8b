//! Named f32 tensors with a few strings: what a program keeps for itself between runs, such as the state
//! of a training. Safetensors on disk, so that other tools can look inside.

use crate::safetensors_file::{Entry, SafetensorsFile, header};
use crate::{FormatError, write_atomic_with};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes tensors (name, shape, row-major values) bit for bit. The file appears whole or not at all.
pub fn write(
    path: &Path,
    metadata: &BTreeMap<&str, String>,
    tensors: &[(String, Vec<usize>, &[f32])],
) -> Result<(), FormatError> {
    let entries: Vec<Entry> = tensors
        .iter()
        .map(|(name, shape, values)| Entry {
            name: name.clone(),
            dtype: "F32",
            shape: shape.clone(),
            bytes: values.len() as u64 * 4,
        })
        .collect();
    write_atomic_with(path, |out| {
        out.write_all(&header(metadata, &entries))?;
        for (_, _, values) in tensors {
            if cfg!(target_endian = "little") {
                out.write_all(bytemuck::cast_slice(values))?;
            } else {
                for value in *values {
                    out.write_all(&value.to_le_bytes())?;
                }
            }
        }
        Ok(())
    })
}

/// An open file of named f32 tensors.
#[derive(Debug)]
pub struct TensorFile(SafetensorsFile);

impl TensorFile {
    /// Maps the file and checks its header against its size.
    pub fn open(path: &Path) -> Result<TensorFile, FormatError> {
        Ok(TensorFile(SafetensorsFile::open(path)?))
    }

    /// One of the strings it was written with.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.metadata()?.get(key).map(String::as_str)
    }

    /// The values of an f32 tensor of this shape, bit for bit.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, FormatError> {
        let malformed = |reason: String| FormatError::malformed(self.0.path(), format!("{name} {reason}"));
        let info = self.0.info(name).ok_or_else(|| malformed("is missing".to_owned()))?;
        if info.dtype != safetensors::Dtype::F32 || info.shape != shape {
            return Err(malformed(format!("is {}{:?}, expected F32{shape:?}", info.dtype, info.shape)));
        }
        let bytes = self.0.bytes(info).chunks_exact(4);
        Ok(bytes.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect())
    }
}
