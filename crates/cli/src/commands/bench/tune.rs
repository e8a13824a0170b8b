//! `retrograd bench tune`

use super::{measure, print};
use crate::args::MeasureArgs;
use crate::error::CliError;
use clap::Args;
use retrograd_bench::{BenchError, Effort, NamedShape, cache, tune};
use std::str::FromStr;

#[derive(Args)]
#[command(after_help = "The choice is kept for this adapter, driver and version in the cache directory \
                        ($XDG_CACHE_HOME/retrograd or the system's usual place), and every command uses it.")]
pub(crate) struct TuneCommand {
    /// The model whose products are timed
    #[arg(long, value_name = "NAME", default_value = "gpt2", value_parser = NamedShape::from_str)]
    shape: NamedShape,
    /// Tokens
    #[arg(long, value_name = "T", default_value_t = 64)]
    length: usize,
    /// Few runs
    #[arg(long)]
    quick: bool,
    /// Measure, but keep nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    measure: MeasureArgs,
}

impl TuneCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        for (given, name) in
            [(self.measure.gemm.is_some(), "--gemm"), (self.measure.tile.is_some(), "--tile")]
        {
            if given {
                return Err(CliError::Usage(format!(
                    "bench tune measures every GEMM variant: leave {name} out"
                )));
            }
        }
        if self.measure.device.default_limits && !self.dry_run {
            return Err(CliError::Usage(
                "--default-limits: the choice would be used with the adapter's own limits too; add --dry-run"
                    .to_owned(),
            ));
        }
        let options = self.measure.gpu_options()?;
        let dir = match (self.dry_run, cache::directory()) {
            (true, _) => None,
            (false, Some(dir)) => Some(dir),
            (false, None) => {
                return Err(CliError::Failed(
                    "there is no cache directory: neither XDG_CACHE_HOME nor a home directory is set; set one, or \
                     give --dry-run"
                        .to_owned(),
                ));
            }
        };
        if let Some(dir) = &dir {
            cache::prepare(dir)?;
        }
        let effort = if self.quick { Effort::QUICK } else { Effort::FULL };
        let tuned = measure(|progress| tune::run(&options, self.shape, self.length, effort, progress))?;
        let mut document = tuned.document;
        let (before, now) = (tuned.before.to_string(), tuned.choice.gemm.clone());
        document.notes.push(if before == now {
            format!("gemm/{now} was in use and is the fastest")
        } else {
            format!("gemm/{now} is the fastest; gemm/{before} was in use")
        });
        if let Some(dir) = &dir {
            let path = cache::store(dir, tuned.choice).map_err(BenchError::from)?;
            document.notes.push(format!("kept in {}", path.display()));
        }
        print(&document, self.measure.json)
    }
}
