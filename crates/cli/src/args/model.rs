//! Which model.

use super::DeviceArgs;
use clap::Args;
use retrograd::Precision;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Hugging Face GPT-2 directory [default: the shipped model, models/atlas]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Element type of the weight matrices on the device: f32 or f16
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = Precision::from_str)]
    pub(crate) precision: Precision,
    /// Where the device's memory does not do, take f16 weights, then (in 'trace') keep fewer layers, and say so
    #[arg(long)]
    pub(crate) fit: bool,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
}
