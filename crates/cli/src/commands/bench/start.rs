//! `retrograd bench start`

use super::{check_runs, measure, print};
use crate::args::MeasureArgs;
use crate::default_model;
use crate::error::CliError;
use clap::Args;
use retrograd::{Config, Tokenizer};
use retrograd_bench::start::StartBench;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example: retrograd bench start --runs 5")]
pub(crate) struct StartCommand {
    /// Hugging Face GPT-2 directory [default: the shipped model, models/atlas]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Runs with and without the driver's shader cache, in turn
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    #[command(flatten)]
    measure: MeasureArgs,
}

/// The prompt where the model has a tokenizer.
const PROMPT: &str = "The capital of France is";

impl StartCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        check_runs(self.runs)?;
        let options = self.measure.gpu_options()?;
        if self.measure.checked || self.measure.gemm.is_some() {
            return Err(CliError::Usage(
                "bench start runs 'retrograd trace': leave --checked and --gemm out".to_owned(),
            ));
        }
        let dir = default_model::resolve(self.model.as_deref())?;
        Config::from_dir(&dir)?;
        let mut arguments = vec!["trace".to_owned()];
        match Tokenizer::from_dir(&dir)? {
            Some(_) => arguments.extend([PROMPT.to_owned(), "--next-token".to_owned()]),
            None => arguments.extend(["--ids", "1,2,3,4,5", "--next-token"].map(str::to_owned)),
        }
        arguments.extend(["--json".to_owned(), "--model".to_owned(), dir.display().to_string()]);
        arguments.extend(self.measure.device.to_arguments());
        let program = std::env::current_exe()
            .map_err(|error| CliError::Failed(format!("this program's own file was not found: {error}")))?;
        let bench = StartBench { program, arguments, model: dir.display().to_string(), runs: self.runs };
        let document = measure(|progress| bench.run(&options, progress))?;
        print(&document, self.measure.json)
    }
}
