//! What every measurement shares: the model, the device, how kernels are compiled.

use super::DeviceArgs;
use crate::error::CliError;
use clap::Args;
use retrograd::gpu::ops::GemmVariant;
use retrograd::{GpuOptions, Precision};
use retrograd_bench::{ModelSource, NamedShape};
use std::path::PathBuf;
use std::str::FromStr;

/// Which device measures, and how the result is printed.
#[derive(Args)]
pub(crate) struct MeasureArgs {
    /// Compile the kernels with the driver-side checks
    #[arg(long)]
    pub(crate) checked: bool,
    /// Use this GEMM variant: portable, subgroup or workgroup [default: the adapter's best]
    #[arg(long, value_name = "NAME", value_parser = GemmVariant::from_str)]
    pub(crate) gemm: Option<GemmVariant>,
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
        Ok(GpuOptions { checked: self.checked, gemm: self.gemm, ..self.device.gpu_options() })
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
}

impl MeasuredModel {
    pub(crate) fn source(&self) -> ModelSource {
        match &self.model {
            Some(dir) => ModelSource::Directory(dir.clone()),
            None => ModelSource::Shape(self.shape),
        }
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
