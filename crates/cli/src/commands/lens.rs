//! `retrograd lens`

use crate::args::TraceArgs;
use crate::engine::ModelFiles;
use crate::error::CliError;
use crate::output::{check_writable, print_json, print_styled};
use crate::report::{self, Page};
use clap::Args;
use retrograd::formats::write_atomic;
use retrograd::lens::{LensOptions, LensReport, lens, lens_capture, lens_csv, lens_sites};
use retrograd::{Capture, RequestError};
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  retrograd lens 'The capital of France is' --target ' Paris'\n  retrograd lens 'The capital of France is' --target ' Paris' --sites resid_post --csv france.csv"
)]
pub(crate) struct LensCommand {
    #[command(flatten)]
    trace: TraceArgs,
    /// Divide each vector by its norm before it is read
    #[arg(long)]
    normalize: bool,
    /// Most and least probable tokens of each reading in JSON and CSV
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Write the readings as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

impl LensCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if let Some(path) = &self.csv {
            check_writable(path)?;
        }
        let files = ModelFiles::open(&self.trace.model)?;
        let capture = &self.trace.capture;
        let sites = lens_sites(capture.sites.as_deref(), capture.layers.as_deref(), files.config.n_layer)?;
        if self.top == 0 || self.top > files.config.vocab_size {
            let reason = format!(
                "{} tokens; the model's vocabulary allows 1 to {}",
                self.top, files.config.vocab_size
            );
            return Err(RequestError::invalid("--top", reason).into());
        }
        let traced = self.trace.run_keeping(&files, Capture::only(lens_capture(&sites)))?;
        let options = LensOptions { sites, top: self.top, normalize: self.normalize };
        let report = lens(traced.trace.as_ref(), traced.model.as_ref(), &options, files.tokenizer.as_ref())?;
        self.write(&report)?;
        if self.json {
            return print_json(&report);
        }
        let mut page = Page::new();
        report::lens(&mut page, &report, &traced.trace.meta().objective);
        report::provenance(&mut page, &traced);
        for path in self.csv.iter() {
            page.line(format_args!("wrote {}", path.display()));
        }
        print_styled(&page.finish())
    }

    /// Writes the files that were asked for.
    fn write(&self, report: &LensReport) -> Result<(), CliError> {
        if let Some(path) = &self.csv {
            write_atomic(path, lens_csv(report).as_bytes())?;
        }
        Ok(())
    }
}
