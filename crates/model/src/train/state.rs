//! The state of a training on disk: one file, replaced whole.

use super::options::TrainOptions;
use super::trainer::NamedValues;
use crate::ModelError;
use retrograd_formats::tensor_file::{self, TensorFile};
use retrograd_formats::{Config, FormatError};
use std::collections::BTreeMap;
use std::path::Path;

const FORMAT: &str = "retrograd-train/1";

/// Writes step, options, shape, digest of the text, parameters and moments.
pub(super) fn write(
    path: &Path,
    step: u64,
    options: &TrainOptions,
    config: &Config,
    digest: u64,
    parts: &[(&str, Vec<NamedValues>)],
) -> Result<(), ModelError> {
    let mut metadata = described(options, config, digest);
    metadata.insert("format", FORMAT.to_owned());
    metadata.insert("step", step.to_string());
    let tensors: Vec<_> = parts
        .iter()
        .flat_map(|(part, named)| {
            named
                .iter()
                .map(move |(name, shape, values)| (format!("{part}.{name}"), shape.clone(), &values[..]))
        })
        .collect();
    Ok(tensor_file::write(path, &metadata, &tensors)?)
}

/// Opens a state and checks that it belongs to this training.
pub(super) fn open(
    path: &Path,
    options: &TrainOptions,
    config: &Config,
    digest: u64,
) -> Result<TensorFile, ModelError> {
    let file = TensorFile::open(path)?;
    if file.metadata("format") != Some(FORMAT) {
        return Err(FormatError::malformed(path, format!("is not a training state ({FORMAT})")).into());
    }
    for (what, wanted) in described(options, config, digest) {
        let found = file.metadata(what).unwrap_or("nothing");
        if found != wanted {
            return Err(FormatError::malformed(
                path,
                format!("cannot be resumed: its {what} is {found}, this training's is {wanted}"),
            )
            .into());
        }
    }
    Ok(file)
}

/// The step a state was saved after.
pub(super) fn step(path: &Path, file: &TensorFile) -> Result<u64, ModelError> {
    file.metadata("step")
        .and_then(|step| step.parse().ok())
        .ok_or_else(|| FormatError::malformed(path, "has no step").into())
}

/// What must be the same for a training to go on as if it had not stopped.
fn described(options: &TrainOptions, config: &Config, digest: u64) -> BTreeMap<&'static str, String> {
    let options = serde_json::to_string(options).unwrap_or_default();
    BTreeMap::from([
        ("options", options),
        ("config", config.to_hf_json().to_string()),
        ("text digest", format!("{digest:016x}")),
    ])
}
