//! Which tensors are kept.

use crate::error::CliError;
use clap::Args;
use retrograd::{Capture, Site};

#[derive(Args)]
#[command(next_help_heading = "What is kept")]
pub(crate) struct CaptureArgs {
    /// Only these layers, as in 0,3-5
    #[arg(long, value_name = "LAYERS", allow_hyphen_values = true)]
    pub(crate) layers: Option<String>,
    /// Only tensors whose name matches, as in 'attn.*,mlp.c_proj.delta'
    #[arg(long, value_name = "GLOB")]
    pub(crate) sites: Option<String>,
}

impl CaptureArgs {
    /// What was asked for; without `--sites`, `otherwise`.
    pub(crate) fn capture(&self, otherwise: Option<Vec<Site>>) -> Result<Capture, CliError> {
        let mut capture = match (&self.sites, otherwise) {
            (Some(glob), _) => Capture::all().sites(glob)?,
            (None, Some(sites)) => Capture::only(sites),
            (None, None) => Capture::all(),
        };
        if let Some(layers) = &self.layers {
            capture = capture.layers(layers)?;
        }
        Ok(capture)
    }
}
