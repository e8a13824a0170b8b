//! Reference gradients in a file: whatever computed them, under the names of a trace file.

use crate::safetensors_file::SafetensorsFile;
use crate::trace_file::parse_objective;
use crate::{Config, FormatError, Objective, ResolvedObjective, Site, TokenId, Weights};
use safetensors::Dtype;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a reference file can hold a tensor for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferenceName {
    /// A tensor of a trace, under its name there.
    Site(Site),
    /// The gradient of a parameter: its name with `.grad` appended.
    Gradient(String),
}

/// A tensor of a reference file, in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceTensor {
    /// Its values, row-major.
    pub values: Vec<f64>,
    /// The largest relative error of a value that was rounded to the type in which it is stored.
    pub stored_rounding: f64,
}

/// A mapped safetensors file with tensors of a trace in F64, F32, F16 or BF16, and optionally `tokens` and the
/// metadata `objective` of a trace file.
#[derive(Debug)]
pub struct ReferenceFile {
    file: SafetensorsFile,
    tokens: Option<Vec<TokenId>>,
    objective: Option<ResolvedObjective>,
}

impl ReferenceFile {
    /// Maps the file and reads what was traced, as far as it says.
    ///
    /// # Errors
    /// When it is not a safetensors file, or its tokens or its objective are damaged.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let file = SafetensorsFile::open(path)?;
        let tokens = tokens(&file)?;
        let objective = match file.metadata().and_then(|metadata| metadata.get("objective")) {
            None => None,
            Some(text) => {
                let damaged = |reason: String| FormatError::malformed(path, reason);
                let value = serde_json::from_str(text)
                    .map_err(|error| damaged(format!("'objective' in its metadata is not JSON: {error}")))?;
                let count = tokens.as_ref().map_or(usize::MAX, Vec::len);
                let objective = parse_objective(&value, count)
                    .ok_or_else(|| damaged("'objective' in its metadata is damaged".to_owned()))?;
                Some(objective)
            }
        };
        Ok(ReferenceFile { file, tokens, objective })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.file.path().to_owned()
    }

    /// The tokens, where it has them.
    pub fn tokens(&self) -> Option<&[TokenId]> {
        self.tokens.as_deref()
    }

    /// What was differentiated, where it says so. A gradient of the caller's own cannot be told from a file.
    pub fn objective(&self) -> Option<&Objective> {
        let objective = self.objective.as_ref().map(|resolved| &resolved.objective);
        objective.filter(|objective| !matches!(objective, Objective::Delta { .. }))
    }

    /// Its tensors but for `tokens`: those of a model of this shape, and the names of the others.
    pub fn names(&self, config: &Config) -> (Vec<ReferenceName>, Vec<String>) {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        // Made once: a file may have as many names as the model.
        let parameters: HashSet<String> =
            Weights::parameter_names(config, !config.tie_word_embeddings).into_iter().collect();
        for name in self.file.names().into_iter().filter(|name| name != "tokens") {
            match parse_name(&name, config, &parameters) {
                Some(parsed) => known.push(parsed),
                None => unknown.push(name),
            }
        }
        known.sort();
        unknown.sort();
        (known, unknown)
    }

    /// A tensor of this shape.
    ///
    /// # Errors
    /// When it is of another shape or type, or not everywhere a finite number.
    pub fn tensor(&self, name: &ReferenceName, shape: &[usize]) -> Result<ReferenceTensor, FormatError> {
        let stored = name.to_string();
        let malformed =
            |reason: String| FormatError::malformed(self.file.path(), format!("{stored} {reason}"));
        let info = self.file.info(&stored).ok_or_else(|| malformed("is missing".to_owned()))?;
        if info.shape != shape {
            return Err(malformed(format!(
                "has shape {:?}; for this model, prompt and objective it is {shape:?}",
                info.shape
            )));
        }
        let bytes = self.file.bytes(info);
        let (values, stored_rounding): (Vec<f64>, f64) = match info.dtype {
            Dtype::F64 => (words::<8>(bytes).map(f64::from_le_bytes).collect(), 0.0),
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => {
                // One bit beyond the mantissa of each type.
                let digits = match info.dtype {
                    Dtype::F32 => 24,
                    Dtype::F16 => 11,
                    _ => 8,
                };
                (self.file.float_view(&stored, &stored)?.to_f64()?, 0.5f64.powi(digits))
            }
            other => return Err(malformed(format!("is of type {other}; must be F64, F32, F16 or BF16"))),
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => {
                Err(malformed(format!("is {} at element {at}: a reference must be finite", values[at])))
            }
            None => Ok(ReferenceTensor { values, stored_rounding }),
        }
    }
}

impl ReferenceName {
    /// Everything that a file can hold for a model of this shape.
    pub fn all(config: &Config) -> Vec<ReferenceName> {
        let sites = Site::all(config.n_layer).into_iter().filter(|site| *site != Site::Tokens);
        let sites = sites.map(ReferenceName::Site);
        let untied = !config.tie_word_embeddings;
        // A norm's gradients are tensors of a trace.
        let parameters = Weights::parameter_names(config, untied).into_iter();
        let gradients = parameters.filter(|name| !name.contains("ln_")).map(ReferenceName::Gradient);
        sites.chain(gradients).collect()
    }

    /// The shape for so many tokens, of which `positions` carry loss.
    pub fn shape(&self, config: &Config, tokens: usize, positions: usize) -> Vec<usize> {
        match self {
            ReferenceName::Site(site) => site.shape(config, tokens, positions),
            ReferenceName::Gradient(parameter) => Weights::parameter_shape(config, parameter),
        }
    }
}

impl std::fmt::Display for ReferenceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReferenceName::Site(site) => write!(f, "{site}"),
            ReferenceName::Gradient(parameter) => write!(f, "{parameter}.grad"),
        }
    }
}

fn parse_name(name: &str, config: &Config, parameters: &HashSet<String>) -> Option<ReferenceName> {
    if let Ok(site) = Site::from_str(name) {
        return site
            .layer()
            .is_none_or(|layer| layer.0 < config.n_layer)
            .then_some(ReferenceName::Site(site));
    }
    let parameter = name.strip_suffix(".grad")?;
    parameters.contains(parameter).then(|| ReferenceName::Gradient(parameter.to_owned()))
}

/// `tokens`, in any integer type.
fn tokens(file: &SafetensorsFile) -> Result<Option<Vec<TokenId>>, FormatError> {
    let Some(info) = file.info("tokens") else { return Ok(None) };
    let malformed = |reason: String| FormatError::malformed(file.path(), format!("tokens {reason}"));
    if info.shape.len() != 1 {
        return Err(malformed(format!("has shape {:?}; must have one axis", info.shape)));
    }
    let bytes = file.bytes(info);
    let numbers: Vec<i64> = match info.dtype {
        Dtype::U32 => words::<4>(bytes).map(|word| i64::from(u32::from_le_bytes(word))).collect(),
        Dtype::I32 => words::<4>(bytes).map(|word| i64::from(i32::from_le_bytes(word))).collect(),
        Dtype::I64 => words::<8>(bytes).map(i64::from_le_bytes).collect(),
        other => return Err(malformed(format!("is of type {other}; must be U32, I32 or I64"))),
    };
    let id = |number: i64| u32::try_from(number).map(TokenId);
    let ids: Result<Vec<TokenId>, _> = numbers.into_iter().map(id).collect();
    ids.map(Some).map_err(|_| malformed("has a number that is no token id".to_owned()))
}

/// Little-endian words of N bytes; a tensor's bytes are a whole number of them.
fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    bytes.as_chunks::<N>().0.iter().copied()
}
