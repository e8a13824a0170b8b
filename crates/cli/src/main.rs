//! The `retrograd` command: arguments in, library calls, text or JSON out.

mod args;
mod commands;
mod default_model;
mod engine;
mod error;
mod output;
mod progress;
mod report;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Closed-form GPT-2 backward passes on any GPU: traces, Reversed Attention, generation, training.
#[derive(Parser)]
#[command(name = "retrograd", version, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trace a prompt: what the backward pass computed, to read or as a file.
    Trace(commands::trace::TraceCommand),
    /// Rank the heads by the size of their Reversed Attention.
    Attention(commands::attention::AttentionCommand),
    /// Continue a prompt.
    Generate(commands::generate::GenerateCommand),
    /// Train a byte-level BPE tokenizer on text files.
    Tokenizer(commands::tokenizer::TokenizerCommand),
    /// Show the adapters there are, which would be used and why, and test it.
    Doctor(commands::doctor::DoctorCommand),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Trace(command) => command.run(),
        Command::Attention(command) => command.run(),
        Command::Generate(command) => command.run(),
        Command::Tokenizer(command) => command.run(),
        Command::Doctor(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
