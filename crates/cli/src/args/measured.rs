//! What every measurement shares: the model, the device, how kernels are compiled.

use super::DeviceArgs;
use crate::error::CliError;
use clap::Args;
use retrograd::gpu::ops::{GemmVariant, WorkgroupTile};
use retrograd::{GpuOptions, Precision, RequestError};
use retrograd_bench::{ModelSource, NamedShape};
use std::path::PathBuf;
use std::str::FromStr;

/// Which device measures, and how the result is printed.
#[derive(Args)]
pub(crate) struct MeasureArgs {
    /// Compile the kernels with the driver-side checks
    #[arg(long)]
    pub(crate) checked: bool,
    /// Use this GEMM variant: portable, subgroup, workgroup or image [default: the adapter's best]
    #[arg(long, value_name = "NAME", value_parser = GemmVariant::from_str)]
    pub(crate) gemm: Option<GemmVariant>,
    /// Use this tile of the workgroup variant, and that variant, for every product: 128x128, 64x64/2, … [default: by the
    /// product's extents]
    #[arg(long, value_name = "TILE", value_parser = WorkgroupTile::from_str)]
    pub(crate) tile: Option<WorkgroupTile>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}

impl MeasureArgs {
    pub(crate) fn gpu_options(&self) -> Result<GpuOptions, CliError> {
        if self.device.is_reference() {
            return Err(CliError::Failed(
                "--adapter reference: is there to be right, not to be measured; 'retrograd doctor' lists the devices"
                    .to_owned(),
            ));
        }
        let gemm = match (self.gemm, self.tile) {
            (Some(variant), Some(_)) if variant != GemmVariant::Workgroup => {
                return Err(CliError::Usage(format!(
                    "--tile: the {variant} variant has no such tiles: leave --gemm out, or give --gemm workgroup"
                )));
            }
            (None, Some(_)) => Some(GemmVariant::Workgroup),
            (gemm, _) => gemm,
        };
        Ok(GpuOptions { checked: self.checked, gemm, workgroup_tile: self.tile, ..self.device.gpu_options() })
    }
}

/// The model that is measured.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct MeasuredModel {
    /// Hugging Face GPT-2 directory
    #[arg(long, value_name = "DIR", conflicts_with = "shape")]
    model: Option<PathBuf>,
    /// Random weights of this shape: atlas, distilgpt2, gpt2, gpt2-medium, gpt2-large or gpt2-xl
    #[arg(long, value_name = "NAME", default_value = "gpt2", value_parser = NamedShape::from_str)]
    shape: NamedShape,
    /// Another number of layers than the shape's
    #[arg(long, value_name = "L", conflicts_with = "model")]
    n_layer: Option<usize>,
    /// Another width, a multiple of 64: heads of 64 columns
    #[arg(long, value_name = "D", conflicts_with = "model")]
    n_embd: Option<usize>,
}

/// Largest number of layers and width that can be asked for.
const MOST: usize = 1 << 14;

impl MeasuredModel {
    pub(crate) fn source(&self) -> Result<ModelSource, CliError> {
        if let Some(dir) = &self.model {
            return Ok(ModelSource::Directory(dir.clone()));
        }
        let (mut name, mut config) = (self.shape.to_string(), self.shape.config());
        if let Some(layers) = self.n_layer {
            if !(1..=MOST).contains(&layers) {
                let reason = format!("{layers} is not between 1 and {MOST}");
                return Err(RequestError::invalid("--n-layer", reason).into());
            }
            config.n_layer = layers;
            name.push_str(&format!(", L = {layers}"));
        }
        if let Some(width) = self.n_embd {
            if !(64..=MOST).contains(&width) || width % 64 != 0 {
                let reason = format!("{width} is not a multiple of 64 up to {MOST}");
                return Err(RequestError::invalid("--n-embd", reason).into());
            }
            (config.n_embd, config.n_head, config.n_inner) = (width, width / 64, 4 * width);
            name.push_str(&format!(", D = {width}"));
        }
        Ok(ModelSource::Random { name, config })
    }
}

/// Element type of the matrices.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct PrecisionArg {
    /// Element type of the weight matrices on the device: f32 or f16
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = Precision::from_str)]
    pub(crate) precision: Precision,
}
