//! `retrograd bench`

mod generate;
mod heads;
mod kernels;
mod start;
mod trace;
mod train;
mod tune;

use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::progress::Spinner;
use crate::report::{self, Page};
use clap::{Args, Subcommand};
use retrograd::RequestError;
use retrograd_bench::Document;

#[derive(Args)]
pub(crate) struct BenchCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Every kernel and GEMM variant at the sizes of GPT-2's models, checked against f64 first.
    Kernels(kernels::KernelsCommand),
    /// A whole trace: forward and backward pass, every R, every factor.
    Trace(trace::TraceCommand),
    /// Generation with a cache: tokens a second.
    Generate(generate::GenerateCommand),
    /// What it costs to say which heads matter: silencing every one, or ranking by Reversed Attention.
    Heads(heads::HeadsCommand),
    /// A training step.
    Train(train::TrainCommand),
    /// A process from its start to its printed result, with and without compiled shaders on disk.
    Start(start::StartCommand),
    /// Find the GEMM variant that is fastest on this adapter, and use it from now on.
    Tune(tune::TuneCommand),
}

impl BenchCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        match self.what {
            What::Kernels(command) => command.run(),
            What::Trace(command) => command.run(),
            What::Generate(command) => command.run(),
            What::Heads(command) => command.run(),
            What::Train(command) => command.run(),
            What::Start(command) => command.run(),
            What::Tune(command) => command.run(),
        }
    }
}

/// Measures with a spinner that says what is measured.
fn measure<T, E>(run: impl FnOnce(&mut dyn FnMut(&str)) -> Result<T, E>) -> Result<T, E> {
    let spinner = Spinner::new("measuring".to_owned());
    run(&mut |what: &str| spinner.say(what.to_owned()))
}

/// Prints a document, or its page.
fn print(document: &Document, json: bool) -> Result<(), CliError> {
    if json {
        return print_json(document);
    }
    let mut page = Page::new();
    report::bench(&mut page, document);
    print_styled(&page.finish())
}

/// Refuses 0 runs.
fn check_runs(runs: usize) -> Result<(), CliError> {
    if runs == 0 {
        return Err(RequestError::invalid("--runs", "is 0: give at least one run").into());
    }
    Ok(())
}
