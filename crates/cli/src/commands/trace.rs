//! `retrograd trace`

use crate::args::TraceArgs;
use crate::engine::{Fitted, ModelFiles};
use crate::error::CliError;
use crate::output::{check_writable, print_json, print_styled};
use crate::report::{self, Page};
use clap::Args;
use retrograd::formats::trace_file;
use retrograd::lens::{TraceSummary, summarize, summary_sites};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example: retrograd trace 'The capital of France is' --target ' Paris'")]
pub(crate) struct TraceCommand {
    #[command(flatten)]
    trace: TraceArgs,
    /// Write the tensors as a safetensors file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Tokens to show at each position
    #[arg(long, value_name = "K", default_value_t = 8)]
    top: usize,
    /// Print the summary as one JSON document
    #[arg(long)]
    json: bool,
}

/// The document where `--fit` changed something.
#[derive(Serialize)]
struct Fitting<'a> {
    #[serde(flatten)]
    summary: TraceSummary,
    fitted: &'a Fitted,
}

impl TraceCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if let Some(path) = &self.out {
            check_writable(path)?;
        }
        let files = ModelFiles::open(&self.trace.model)?;
        // The summary needs less than everything: only a file gets the rest.
        let sites = if self.out.is_none() { Some(summary_sites as fn(usize) -> _) } else { None };
        let traced = self.trace.run(&files, sites)?;
        let trace = traced.trace.as_ref();
        let summary = summarize(trace, files.tokenizer.as_ref(), self.top)?;
        if let Some(path) = &self.out {
            trace_file::write(path, trace)?;
        }
        if self.json {
            return match traced.fitted.is_any() {
                true => print_json(&Fitting { summary, fitted: &traced.fitted }),
                false => print_json(&summary),
            };
        }
        let mut page = Page::new();
        report::trace(&mut page, &summary, trace)?;
        report::provenance(&mut page, &traced);
        if let Some(path) = &self.out {
            report::written(&mut page, path, trace.sites().len());
        }
        print_styled(&page.finish())
    }
}
