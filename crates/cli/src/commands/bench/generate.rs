//! `retrograd bench generate`

use super::{check_runs, measure, print};
use crate::args::{MeasureArgs, MeasuredModel, PrecisionArg};
use crate::error::CliError;
use clap::Args;
use retrograd::RequestError;
use retrograd_bench::generate::GenerateBench;

#[derive(Args)]
#[command(after_help = "Example: retrograd bench generate --shape gpt2 --precision f16 --tokens 64")]
pub(crate) struct GenerateCommand {
    /// Tokens of the prompt
    #[arg(long, value_name = "T", default_value_t = 64)]
    length: usize,
    /// Tokens to generate, 2 at least
    #[arg(long, value_name = "N", default_value_t = 32)]
    tokens: usize,
    /// Runs after the first, which compiles
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    #[command(flatten)]
    model: MeasuredModel,
    #[command(flatten)]
    precision: PrecisionArg,
    #[command(flatten)]
    measure: MeasureArgs,
}

impl GenerateCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        check_runs(self.runs)?;
        if self.tokens < 2 {
            let reason = format!("{} leaves no time between two tokens: give 2 or more", self.tokens);
            return Err(RequestError::invalid("--tokens", reason).into());
        }
        let options = self.measure.gpu_options()?;
        let bench = GenerateBench {
            source: self.model.source()?,
            length: self.length,
            tokens: self.tokens,
            runs: self.runs,
            precision: self.precision.precision,
        };
        let document = measure(|progress| bench.run(&options, progress))?;
        print(&document, self.measure.json)
    }
}
