//! `retrograd bench heads`

use super::{check_runs, measure, print};
use crate::args::{MeasureArgs, MeasuredModel, PrecisionArg};
use crate::error::CliError;
use clap::Args;
use retrograd_bench::heads::HeadsBench;

#[derive(Args)]
#[command(after_help = "Example: retrograd bench heads --shape gpt2 --length 32")]
pub(crate) struct HeadsCommand {
    /// Tokens of the prompt
    #[arg(long, value_name = "T", default_value_t = 32)]
    length: usize,
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

impl HeadsCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        check_runs(self.runs)?;
        let options = self.measure.gpu_options()?;
        let bench = HeadsBench {
            source: self.model.source()?,
            length: self.length,
            runs: self.runs,
            precision: self.precision.precision,
        };
        let document = measure(|progress| bench.run(&options, progress))?;
        print(&document, self.measure.json)
    }
}
