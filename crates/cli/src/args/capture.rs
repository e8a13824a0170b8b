//! Which tensors are kept.

use crate::error::CliError;
use clap::Args;
use retrograd::{BlockSite, Capture, Layer, Site};

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

    /// The blocks that `--layers` names among `n_layer`; `None` without it.
    pub(crate) fn blocks(&self, n_layer: usize) -> Result<Option<Vec<usize>>, CliError> {
        let Some(text) = &self.layers else { return Ok(None) };
        let capture = Capture::all().layers(text)?;
        capture.check_layers(n_layer)?;
        let named = |layer: &usize| capture.keeps(Site::Block(Layer(*layer), BlockSite::Pattern));
        Ok(Some((0..n_layer).filter(named).collect()))
    }
}
