//! Writing weights as Hugging Face's libraries expect them.

use super::view::{first_not_finite, round_to_f16};
use crate::safetensors_file::{Entry, header};
use crate::{Dtype, FormatError, write_atomic_with};
use half::bf16;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Writes a safetensors file of named tensors (name, shape, row-major values), converted to `dtype` by
/// rounding to nearest even. The file appears whole or not at all. Refused are values that are not finite or,
/// for F16 and BF16, too large.
pub fn write_model_weights(
    path: &Path,
    tensors: &[(String, Vec<usize>, &[f32])],
    dtype: Dtype,
) -> Result<(), FormatError> {
    let mut names = BTreeSet::new();
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, shape, values) in tensors {
        let fail = |reason: String| Err(FormatError::malformed(path, format!("{name}: {reason}")));
        let size = shape.iter().try_fold(1usize, |size, &extent| size.checked_mul(extent));
        if size != Some(values.len()) {
            return fail(format!("{} values do not fill the shape {shape:?}", values.len()));
        }
        if !names.insert(name) {
            return fail("is given twice".to_owned());
        }
        if let Some(at) = first_not_finite(values) {
            return fail(format!("element {at} is {}, not a finite number", values[at]));
        }
        if let Err(at) = convert(values, dtype) {
            return fail(format!("element {at} is {}, too large for {}", values[at], dtype.name()));
        }
        let bytes = values.len() as u64 * dtype.size() as u64;
        entries.push(Entry { name: name.clone(), dtype: dtype.name(), shape: shape.clone(), bytes });
    }
    let metadata = BTreeMap::from([("format", "pt".to_owned())]);
    write_atomic_with(path, |out| {
        out.write_all(&header(&metadata, &entries))?;
        for (_, _, values) in tensors {
            // Cannot fail any more: every value was converted once above.
            out.write_all(&convert(values, dtype).unwrap_or_default())?;
        }
        Ok(())
    })
}

/// Little-endian bytes of the values, or the index of one that is too large.
pub(super) fn convert(values: &[f32], dtype: Dtype) -> Result<Cow<'_, [u8]>, usize> {
    let words: Vec<u16> = match dtype {
        Dtype::F32 if cfg!(target_endian = "little") => {
            return Ok(Cow::Borrowed(bytemuck::cast_slice(values)));
        }
        Dtype::F32 => return Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        Dtype::F16 => round_to_f16(values)?,
        Dtype::BF16 => {
            let rounded: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
            match rounded.iter().position(|x| !x.is_finite()) {
                Some(at) => return Err(at),
                None => rounded.into_iter().map(bf16::to_bits).collect(),
            }
        }
    };
    Ok(words.into_iter().flat_map(u16::to_le_bytes).collect())
}
