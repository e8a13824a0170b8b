//! `retrograd bench trace`

use super::{check_runs, measure, print};
use crate::args::{MeasureArgs, MeasuredModel, PrecisionArg};
use crate::error::CliError;
use crate::output::check_writable;
use clap::Args;
use retrograd::formats::write_atomic;
use retrograd_bench::chrome::ChromeTrace;
use retrograd_bench::trace::TraceBench;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example: retrograd bench trace --shape gpt2 --length 64,256 --runs 5 --breakdown")]
pub(crate) struct TraceCommand {
    /// Numbers of tokens
    #[arg(long, value_name = "T", value_delimiter = ',', default_value = "64")]
    length: Vec<usize>,
    /// Sequences in a pass
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1")]
    batch: Vec<usize>,
    /// Runs after the first, which compiles
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// Time each kernel too
    #[arg(long)]
    breakdown: bool,
    /// Write a time line for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    chrome_trace: Option<PathBuf>,
    #[command(flatten)]
    model: MeasuredModel,
    #[command(flatten)]
    precision: PrecisionArg,
    #[command(flatten)]
    measure: MeasureArgs,
}

impl TraceCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        check_runs(self.runs)?;
        let options = self.measure.gpu_options()?;
        if let Some(path) = &self.chrome_trace {
            check_writable(path)?;
        }
        let bench = TraceBench {
            source: self.model.source()?,
            lengths: self.length,
            batches: self.batch,
            runs: self.runs,
            precision: self.precision.precision,
            breakdown: self.breakdown,
        };
        let mut chrome = self.chrome_trace.as_ref().map(|_| ChromeTrace::new("device"));
        let mut document = measure(|progress| bench.run(&options, chrome.as_mut(), progress))?;
        if let (Some(path), Some(chrome)) = (&self.chrome_trace, &chrome) {
            write_atomic(path, chrome.to_json().as_bytes())?;
            document.notes.push(format!("wrote the time line to {}", path.display()));
        }
        print(&document, self.measure.json)
    }
}
