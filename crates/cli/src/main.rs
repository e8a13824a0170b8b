//! The `retrograd` command: arguments in, library calls, text or JSON out.

mod args;
mod commands;
mod default_model;
mod engine;
mod error;
mod interrupt;
mod output;
mod progress;
mod report;
mod study;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 a verification outside its tolerance.";

/// Closed-form GPT-2 backward passes on any GPU: traces, Reversed Attention, generation, training.
#[derive(Parser)]
#[command(name = "retrograd", version, max_term_width = 110, arg_required_else_help = true, args_override_self = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one, parsed once; whether it is too large depends on the others"
)]
enum Command {
    /// Trace a prompt: what the backward pass computed, to read or as a file.
    Trace(commands::trace::TraceCommand),
    /// Rank the heads by the size of their Reversed Attention.
    Attention(commands::attention::AttentionCommand),
    /// Read the gradients' two factors in the vocabulary: the Backward Lens.
    Lens(commands::lens::LensCommand),
    /// What each head does to the answer: silence every one in turn.
    Mediate(commands::mediate::MediateCommand),
    /// How much of a task is left when only the first heads of an ordering speak.
    Perturb(commands::perturb::PerturbCommand),
    /// Add mean Reversed Attention to the attention: what it does to a task.
    Patch(commands::patch::PatchCommand),
    /// All of that for several tasks: figures, tables and a text, in a directory.
    Report(commands::report::ReportCommand),
    /// Show what flows through a position: neurons, heads and streams as a graph, read in the vocabulary.
    Flow(commands::flow::FlowCommand),
    /// Show all of it in the browser, from this machine: run prompts, look at heads, lens and graph, try changes.
    Serve(commands::serve::ServeCommand),
    /// Trace a table of prompts into Parquet, in batches.
    Sweep(commands::sweep::SweepCommand),
    /// Edit a fact into a model, or measure how well that works.
    Edit(commands::edit::EditCommand),
    /// Continue a prompt.
    Generate(commands::generate::GenerateCommand),
    /// Train a model, new or from its weights.
    Train(commands::train::TrainCommand),
    /// Train a byte-level BPE tokenizer on text files.
    Tokenizer(commands::tokenizer::TokenizerCommand),
    /// Measure how fast: kernels, traces, generation, training, start-up; choose the fastest kernels.
    Bench(commands::bench::BenchCommand),
    /// Hold this device's kernels and a model's traces to f64, or a trace to a file of reference gradients.
    Verify(commands::verify::VerifyCommand),
    /// Show the adapters there are, which would be used and why, and test it.
    Doctor(commands::doctor::DoctorCommand),
}

fn main() -> ExitCode {
    quiet_drivers();
    let result = match Cli::parse().command {
        Command::Trace(command) => command.run(),
        Command::Attention(command) => command.run(),
        Command::Lens(command) => command.run(),
        Command::Mediate(command) => command.run(),
        Command::Perturb(command) => command.run(),
        Command::Patch(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Flow(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Sweep(command) => command.run(),
        Command::Edit(command) => command.run(),
        Command::Generate(command) => command.run(),
        Command::Train(command) => command.run(),
        Command::Tokenizer(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Doctor(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// Where there is no desktop session, a Vulkan layer that Mesa installs (it reorders the devices for the
/// compositor) prints 'error: XDG_RUNTIME_DIR …' on stderr each time it is loaded; it is switched off then.
fn quiet_drivers() {
    let set = |name| std::env::var_os(name).is_some();
    if cfg!(target_os = "linux") && !set("XDG_RUNTIME_DIR") && !set("DRI_PRIME") {
        // SAFETY: nothing else runs yet: this is the first statement of `main`, no thread was started.
        #[allow(unsafe_code, reason = "the process's environment")]
        unsafe {
            std::env::set_var("NODEVICE_SELECT", "1");
        }
    }
}
