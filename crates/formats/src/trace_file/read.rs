//! Reading a trace back.

use super::FORMAT;
use crate::request::check_ids;
use crate::safetensors_file::SafetensorsFile;
use crate::{
    Config, FormatError, HostTensor, Objective, RequestError, ResolvedObjective, Site, TokenId, TraceMeta,
    TraceRead,
};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::Value;
use std::path::Path;

/// A trace in a file, memory-mapped: tensors are read when they are asked for.
#[derive(Debug)]
pub struct TraceFile {
    file: SafetensorsFile,
    meta: TraceMeta,
    sites: Vec<Site>,
}

impl TraceFile {
    /// Maps a trace file and checks its metadata and the shape of every tensor.
    ///
    /// For an [`Objective::Delta`] the file holds δ as `lm_head.delta`; when that was not captured, the
    /// objective in [`meta`](TraceRead::meta) has an empty δ.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let file = SafetensorsFile::open(path)?;
        let text = |key: &str| file.metadata().and_then(|metadata| metadata.get(key));
        let required = |key: &str| {
            text(key).ok_or_else(|| FormatError::malformed(path, format!("has no '{key}' in its metadata")))
        };
        match text("format") {
            Some(format) if format == FORMAT => {}
            Some(format) => {
                let reason = format!("is of the format '{format}'; this version reads '{FORMAT}'");
                return Err(FormatError::malformed(path, reason));
            }
            None => {
                return Err(FormatError::malformed(path, format!("is not a trace file: no format={FORMAT}")));
            }
        }
        let parse = |key: &str| -> Result<Value, FormatError> {
            serde_json::from_str(required(key)?).map_err(|error| {
                FormatError::malformed(path, format!("'{key}' in its metadata is not JSON: {error}"))
            })
        };
        let config = Config::from_json(path, &parse("config")?)?;
        let tokens = read_tensor(&file, Site::Tokens)?;
        let ids: Vec<TokenId> = tokens.as_u32().iter().copied().map(TokenId).collect();
        if tokens.shape.len() != 1 {
            return Err(FormatError::malformed(
                path,
                format!("tokens has shape {:?}; must have one axis", tokens.shape),
            ));
        }
        check_ids(&ids, &config).map_err(|error| FormatError::malformed(path, error.to_string()))?;

        let mut objective = parse_objective(&parse("objective")?, ids.len())
            .ok_or_else(|| FormatError::malformed(path, "'objective' in its metadata is damaged"))?;
        let sites: Vec<Site> = Site::all(config.n_layer)
            .into_iter()
            .filter(|site| file.info(&site.to_string()).is_some())
            .collect();
        for site in &sites {
            let expected = site.shape(&config, ids.len(), objective.count);
            check_tensor(&file, *site, &expected)?;
        }
        if !sites.contains(&Site::Loss) {
            return Err(FormatError::malformed(path, "has no tensor loss"));
        }
        if let (Objective::Delta { delta, .. }, true) =
            (&mut objective.objective, sites.contains(&Site::LmHeadDelta))
        {
            *delta = read_tensor(&file, Site::LmHeadDelta)?.as_f32().to_vec();
        }
        let meta = TraceMeta {
            model: required("model")?.clone(),
            prompt: text("prompt").cloned(),
            ids,
            objective,
            adapter: required("adapter")?.clone(),
            driver: required("driver")?.clone(),
            config,
        };
        Ok(TraceFile { file, meta, sites })
    }
}

impl TraceRead for TraceFile {
    fn meta(&self) -> &TraceMeta {
        &self.meta
    }

    fn sites(&self) -> Vec<Site> {
        self.sites.clone()
    }

    fn read_all(&self, sites: &[Site]) -> Result<Vec<HostTensor>, RequestError> {
        let read = |site: &Site| {
            if !self.sites.contains(site) {
                return Err(RequestError::invalid(
                    site.to_string(),
                    format!(
                        "is not in {}; trace again with --sites and --layers that keep it",
                        self.file.path().display()
                    ),
                ));
            }
            read_tensor(&self.file, *site)
                .map_err(|error| RequestError::invalid(site.to_string(), error.to_string()))
        };
        sites.iter().map(read).collect()
    }
}

/// Type, shape and place of a tensor, which must be there and of the type that its site has.
fn typed_info(file: &SafetensorsFile, site: Site) -> Result<&TensorInfo, FormatError> {
    let Some(info) = file.info(&site.to_string()) else {
        return Err(FormatError::malformed(file.path(), format!("has no tensor {site}")));
    };
    let dtype = if site == Site::Tokens { Dtype::U32 } else { Dtype::F32 };
    if info.dtype != dtype {
        let reason = format!("{site} is of type {}; must be {dtype}", info.dtype);
        return Err(FormatError::malformed(file.path(), reason));
    }
    Ok(info)
}

fn check_tensor(file: &SafetensorsFile, site: Site, expected: &[usize]) -> Result<(), FormatError> {
    let found = &typed_info(file, site)?.shape;
    if found == expected {
        return Ok(());
    }
    let reason = format!("{site} has shape {found:?}; its metadata asks for {expected:?}");
    Err(FormatError::malformed(file.path(), reason))
}

fn read_tensor(file: &SafetensorsFile, site: Site) -> Result<HostTensor, FormatError> {
    let info = typed_info(file, site)?;
    let shape = info.shape.clone();
    let words = file.bytes(info).as_chunks::<4>().0.iter().copied();
    Ok(match site {
        Site::Tokens => HostTensor::u32(shape, words.map(u32::from_le_bytes).collect()),
        _ => HostTensor::f32(shape, words.map(f32::from_le_bytes).collect()),
    })
}

/// The inverse of [`ResolvedObjective::to_json`]; `None` for what that cannot have written.
pub(crate) fn parse_objective(value: &Value, tokens: usize) -> Option<ResolvedObjective> {
    let numbers =
        |key: &str| -> Option<Vec<u64>> { value.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
    let ids = |key: &str| -> Option<Vec<TokenId>> {
        numbers(key)?.into_iter().map(|id| u32::try_from(id).ok().map(TokenId)).collect()
    };
    let positions = numbers("positions")?;
    let first_position = usize::try_from(*positions.first()?).ok()?;
    let count = positions.len();
    // Bounded before it is counted through: positions are numbers that anybody may have written.
    if first_position.checked_add(count)? > tokens
        || !positions
            .iter()
            .copied()
            .eq((first_position..first_position + count).map(|position| position as u64))
    {
        return None;
    }
    let targets = ids("targets")?;
    let one_target = || (targets.len() == 1).then(|| targets[0]);
    let objective = match value.get("kind")?.as_str()? {
        "target" => Objective::Target(one_target()?),
        "completion" => Objective::Completion { start: first_position + 1 },
        "next_token" => Objective::NextToken,
        "logit_difference" => {
            // A number where somebody else wrote it so.
            let one = value.get("minus").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            let minus = one.map(TokenId).or_else(|| ids("minus")?.first().copied())?;
            Objective::LogitDifference { token: one_target()?, minus }
        }
        "delta" => Objective::Delta { first_position, delta: Vec::new() },
        _ => return None,
    };
    // As Objective::resolve leaves them: only the cross-entropies have a target at each position.
    let targets = match &objective {
        Objective::LogitDifference { .. } | Objective::Delta { .. } => Vec::new(),
        _ => targets,
    };
    let cross_entropy = !matches!(objective, Objective::LogitDifference { .. } | Objective::Delta { .. });
    (!cross_entropy || targets.len() == count).then_some(ResolvedObjective {
        first_position,
        count,
        targets,
        objective,
    })
}
