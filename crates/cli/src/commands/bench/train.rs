//! `retrograd bench train`

use super::{check_runs, measure, print};
use crate::args::{MeasureArgs, MeasuredModel};
use crate::error::CliError;
use clap::Args;
use retrograd_bench::train::TrainBench;

#[derive(Args)]
#[command(after_help = "Example: retrograd bench train --shape gpt2 --batch 4 --length 64 --breakdown")]
pub(crate) struct TrainCommand {
    /// Sequences a step
    #[arg(long, value_name = "B", default_value_t = 4)]
    batch: usize,
    /// Tokens of a sequence
    #[arg(long, value_name = "T", default_value_t = 64)]
    length: usize,
    /// Steps after the first, which compiles
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: usize,
    /// Time each kernel of the forward and backward pass too
    #[arg(long)]
    breakdown: bool,
    #[command(flatten)]
    model: MeasuredModel,
    #[command(flatten)]
    measure: MeasureArgs,
}

impl TrainCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        check_runs(self.runs)?;
        let options = self.measure.gpu_options()?;
        let bench = TrainBench {
            source: self.model.source()?,
            batch: self.batch,
            length: self.length,
            runs: self.runs,
            breakdown: self.breakdown,
        };
        let document = measure(|progress| bench.run(&options, progress))?;
        print(&document, self.measure.json)
    }
}
