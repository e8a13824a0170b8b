//! The model that is measured.

use crate::shape::random_values;
use crate::{BenchError, NamedShape};
use retrograd_formats::{Config, RequestError, TokenId, Weights};
use retrograd_gpu::Gpu;
use retrograd_model::{Gpt2, Precision};
use std::path::PathBuf;

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSource {
    /// An HF directory.
    Directory(PathBuf),
    /// Random weights, made in memory.
    Random {
        /// What it is called.
        name: String,
        /// Its extents.
        config: Config,
    },
}

impl From<NamedShape> for ModelSource {
    fn from(shape: NamedShape) -> Self {
        ModelSource::Random { name: shape.to_string(), config: shape.config() }
    }
}

impl ModelSource {
    /// The directory, or what it is called.
    pub fn name(&self) -> String {
        match self {
            ModelSource::Directory(dir) => dir.display().to_string(),
            ModelSource::Random { name, .. } => name.clone(),
        }
    }

    /// Its extents; a directory's weights are checked against them.
    pub fn config(&self) -> Result<Config, BenchError> {
        match self {
            ModelSource::Directory(dir) => {
                let config = Config::from_dir(dir)?;
                Weights::open(dir, &config)?;
                Ok(config)
            }
            ModelSource::Random { config, .. } => Ok(config.clone()),
        }
    }

    /// The model on a device.
    pub fn load(&self, gpu: &Gpu, precision: Precision) -> Result<Gpt2, BenchError> {
        Ok(match self {
            ModelSource::Directory(dir) => Gpt2::load(gpu, dir, precision)?,
            ModelSource::Random { config, .. } => Gpt2::from_fn(gpu, config, random_values, precision)?,
        })
    }

    /// Refuses lengths that are 0 or more than the model has positions; `flag` is what asked for them.
    pub fn check_length(&self, config: &Config, flag: &str, length: usize) -> Result<(), BenchError> {
        if (1..=config.n_positions).contains(&length) {
            return Ok(());
        }
        let reason =
            format!("{length} is not between 1 and the {} positions of {}", config.n_positions, self.name());
        Err(RequestError::invalid(flag, reason).into())
    }
}

/// So many token ids, spread over the vocabulary.
pub(crate) fn spread_ids(config: &Config, count: usize) -> Vec<TokenId> {
    // 7919 is prime: neighbours are far apart and few of them alike.
    (0..count).map(|t| TokenId((7919 * t % config.vocab_size) as u32)).collect()
}
