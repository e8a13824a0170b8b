//! How a command fails: one line on stderr and an exit code.

use crate::output::one_line;
use retrograd::formats::trace_file::TraceFileError;
use retrograd::{FormatError, GpuError, ModelError, RequestError};
use retrograd_bench::BenchError;
use retrograd_sweep::SweepError;
use std::io::{self, Write};
use std::process::ExitCode;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum CliError {
    /// Exit 1: it could not be done.
    Failed(String),
    /// Exit 2: the arguments do not say what to do.
    Usage(String),
    /// Exit 3: a verification is outside its tolerance.
    OutsideTolerance(String),
    /// The reader of stdout is gone, as in `retrograd … | head`: nothing more to say, nothing failed.
    ClosedPipe,
}

impl CliError {
    /// Says what happened on stderr.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            CliError::ClosedPipe => return ExitCode::SUCCESS,
            CliError::Failed(message) => (message, 1),
            CliError::Usage(message) => (message, 2),
            CliError::OutsideTolerance(message) => (message, 3),
        };
        let style = anstyle::AnsiColor::Red.on_default().bold();
        // Where stderr is closed there is nobody left to tell.
        let _ = writeln!(anstream::stderr(), "{style}error{style:#}: {}", one_line(&message));
        ExitCode::from(code)
    }
}

impl From<io::Error> for CliError {
    /// An error of stdout: everything else is wrapped with its path.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => CliError::ClosedPipe,
            _ => CliError::Failed(format!("standard output: {error}")),
        }
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        match error.io_error_kind() {
            Some(io::ErrorKind::BrokenPipe) => CliError::ClosedPipe,
            _ => CliError::Failed(format!("JSON output: {error}")),
        }
    }
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::WrongResult { .. } => CliError::OutsideTolerance(error.to_string()),
            error => CliError::Failed(error.to_string()),
        }
    }
}

macro_rules! failed {
    ($($error:ty),*) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                CliError::Failed(error.to_string())
            }
        })*
    };
}

failed!(FormatError, RequestError, ModelError, GpuError, TraceFileError, SweepError);
