//! What is changed in the forward pass.

use crate::error::CliError;
use clap::{Args, ValueEnum};
use retrograd::formats::{parse_heads, trace_file};
use retrograd::{Config, Interventions, PatchMap};
use std::path::PathBuf;

#[derive(Args)]
#[command(next_help_heading = "Interventions")]
pub(crate) struct InterventionArgs {
    /// Silence heads, as in 0.1,3.7 (layer.head)
    #[arg(long, value_name = "HEADS")]
    ablate: Option<String>,
    /// Add A times the attention maps of a trace file to the attention
    #[arg(long, value_name = "FILE", requires = "alpha")]
    patch: Option<PathBuf>,
    /// The factor of --patch; for reversed maps a negative one lowers the loss
    #[arg(long, value_name = "A", allow_hyphen_values = true, requires = "patch")]
    alpha: Option<f32>,
    /// Which maps of the file --patch takes
    #[arg(long, value_enum, default_value = "reversed", requires = "patch")]
    patch_map: Map,
}

#[derive(Clone, Copy, ValueEnum)]
enum Map {
    /// Reversed Attention
    Reversed,
    /// The attention pattern
    Forward,
}

impl InterventionArgs {
    pub(crate) fn interventions(&self, config: &Config, tokens: usize) -> Result<Interventions, CliError> {
        let ablate = match &self.ablate {
            Some(heads) => parse_heads(heads)?.into_iter().collect(),
            None => Default::default(),
        };
        let map = match self.patch_map {
            Map::Reversed => PatchMap::Reversed,
            Map::Forward => PatchMap::Forward,
        };
        let patch = match (&self.patch, self.alpha) {
            (Some(file), Some(alpha)) => Some(trace_file::load_patch(file, map, alpha, config, tokens)?),
            _ => None,
        };
        let interventions = Interventions { ablate, patch };
        interventions.check(config, tokens)?;
        Ok(interventions)
    }
}
