//! `retrograd bench kernels`

use super::{measure, print};
use crate::args::MeasureArgs;
use crate::error::CliError;
use clap::Args;
use retrograd_bench::NamedShape;
use retrograd_bench::kernels::{self, KernelsRequest};
use std::str::FromStr;

#[derive(Args)]
#[command(after_help = "Example: retrograd bench kernels --quick --kernels 'gemm/*,layer_norm'")]
pub(crate) struct KernelsCommand {
    /// Only kernels whose name matches, as in 'gemm/*/f16,layer_norm*'
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    kernels: Vec<String>,
    /// Models whose sizes are used [default: gpt2, gpt2-medium, gpt2-large, gpt2-xl; gpt2 with --quick]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = NamedShape::from_str)]
    shape: Vec<NamedShape>,
    /// Numbers of tokens
    #[arg(long, value_name = "T", value_delimiter = ',', default_value = "64")]
    length: Vec<usize>,
    /// A look: the variant in use, f32, few runs
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    measure: MeasureArgs,
}

impl KernelsCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        use NamedShape::{Gpt2, Gpt2Large, Gpt2Medium, Gpt2Xl};
        let options = self.measure.gpu_options()?;
        let models = match (&self.shape[..], self.quick) {
            ([], true) => vec![Gpt2],
            ([], false) => vec![Gpt2, Gpt2Medium, Gpt2Large, Gpt2Xl],
            (shapes, _) => shapes.to_vec(),
        };
        let request = KernelsRequest {
            models: &models,
            lengths: &self.length,
            globs: &self.kernels,
            quick: self.quick,
        };
        let document = measure(|progress| kernels::run(&options, &request, progress))?;
        print(&document, self.measure.json)
    }
}
