//! One tensor of a weights file and its conversions.

use crate::FormatError;
use half::{bf16, f16};
use std::borrow::Cow;
use std::path::Path;

/// How the numbers of a weights file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single-precision number.
    BF16,
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
        }
    }

    /// As safetensors spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
        }
    }
}

/// A tensor in a mapped file, row-major, little-endian. The conversions refuse values that are not finite.
#[derive(Clone, Debug)]
pub struct WeightView<'a> {
    /// The canonical name.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// Extent of each dimension, slowest first.
    pub shape: Vec<usize>,
    /// The numbers as they lie in the file.
    pub bytes: &'a [u8],
    /// The file, for error messages.
    pub(crate) path: &'a Path,
}

impl<'a> WeightView<'a> {
    /// The numbers as f32, exactly; borrowed from the map when they are stored so.
    pub fn to_f32(&self) -> Result<Cow<'a, [f32]>, FormatError> {
        let values: Cow<'a, [f32]> = match self.dtype {
            Dtype::F32 => match bytemuck::try_cast_slice(self.bytes) {
                Ok(values) if cfg!(target_endian = "little") => Cow::Borrowed(values),
                // Files written by others need not be aligned.
                _ => self.words::<4>().map(f32::from_le_bytes).collect(),
            },
            Dtype::F16 => self.words::<2>().map(|word| f16::from_le_bytes(word).to_f32()).collect(),
            Dtype::BF16 => self.words::<2>().map(|word| bf16::from_le_bytes(word).to_f32()).collect(),
        };
        self.check_finite(&values)?;
        Ok(values)
    }

    /// The numbers as f64, exactly.
    pub fn to_f64(&self) -> Result<Vec<f64>, FormatError> {
        Ok(self.to_f32()?.iter().map(|&x| f64::from(x)).collect())
    }

    /// The bits of the numbers as f16, rounded to nearest even; a number too large for f16 is an error.
    pub fn to_f16_bits(&self) -> Result<Vec<u16>, FormatError> {
        if self.dtype == Dtype::F16 {
            let values: Vec<f16> = self.words::<2>().map(f16::from_le_bytes).collect();
            return match values.iter().position(|x| !x.is_finite()) {
                Some(at) => Err(self.not_finite(at, values[at].to_f32())),
                None => Ok(values.into_iter().map(f16::to_bits).collect()),
            };
        }
        let values = self.to_f32()?;
        round_to_f16(&values).map_err(|at| {
            FormatError::malformed(
                self.path,
                format!("{}: element {at} is {}, too large for f16 (65504 at most)", self.name, values[at]),
            )
        })
    }

    fn words<const N: usize>(&self) -> impl Iterator<Item = [u8; N]> + use<'a, N> {
        self.bytes.as_chunks::<N>().0.iter().copied()
    }

    fn check_finite(&self, values: &[f32]) -> Result<(), FormatError> {
        match first_not_finite(values) {
            Some(at) => Err(self.not_finite(at, values[at])),
            None => Ok(()),
        }
    }

    fn not_finite(&self, at: usize, value: f32) -> FormatError {
        FormatError::malformed(
            self.path,
            format!("{}: element {at} is {value}, not a finite number", self.name),
        )
    }
}

/// Index of the first NaN or infinity.
pub(super) fn first_not_finite(values: &[f32]) -> Option<usize> {
    // Blocks whose test has no early exit, which compiles to vector code: this runs over whole models.
    const BLOCK: usize = 4096;
    values.chunks(BLOCK).enumerate().find_map(|(block, chunk)| {
        if chunk.iter().fold(true, |finite, x| finite & x.is_finite()) {
            return None;
        }
        chunk.iter().position(|x| !x.is_finite()).map(|at| block * BLOCK + at)
    })
}

/// The bits of finite numbers as f16, or the index of the first that overflows.
pub(super) fn round_to_f16(values: &[f32]) -> Result<Vec<u16>, usize> {
    let bits: Vec<u16> = values.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
    match bits.iter().position(|&x| !f16::from_bits(x).is_finite()) {
        Some(at) => Err(at),
        None => Ok(bits),
    }
}
