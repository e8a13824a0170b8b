//! Signs of life on stderr, and only where a person sees them.

use crate::error::CliError;
use indicatif::{ProgressBar, ProgressStyle};
use retrograd::training::Progress;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// A spinner with a message; it vanishes when dropped. Hidden where stderr is no terminal.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    pub(crate) fn new(message: String) -> Self {
        let bar = ProgressBar::new_spinner().with_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        Spinner(bar)
    }

    /// Says what is done now.
    pub(crate) fn say(&self, message: String) {
        self.0.set_message(message);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How a training shows: a line of JSON a step on stdout; or a bar, with the held-out losses above it.
pub(crate) struct TrainingProgress {
    json: bool,
    steps: u64,
    bar: ProgressBar,
}

/// A line of `train --json`.
#[derive(Serialize)]
struct StepLine {
    step: u64,
    loss: f32,
    grad_norm: f32,
    lr: f32,
    tokens_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out_loss: Option<f32>,
}

impl TrainingProgress {
    pub(crate) fn new(json: bool, steps: u64, done: u64) -> Self {
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(steps) };
        let template = "{pos}/{len} {bar:30.cyan/dim} {msg}  {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        bar.set_position(done);
        // What an earlier run did says nothing about the time this one takes.
        bar.reset_eta();
        TrainingProgress { json, steps, bar }
    }

    /// Shows a step.
    pub(crate) fn step(&mut self, progress: &Progress) -> Result<(), CliError> {
        let step = &progress.step;
        // A clock that did not move makes no infinite number.
        let tokens_per_s = step.tokens as f64 / progress.time.as_secs_f64().max(1e-9);
        if self.json {
            let line = serde_json::to_string(&StepLine {
                step: step.step,
                loss: step.loss,
                grad_norm: step.grad_norm,
                lr: step.lr as f32,
                tokens_per_s: tokens_per_s.round(),
                held_out_loss: progress.held_out_loss,
            })?;
            let mut out = io::stdout().lock();
            writeln!(out, "{line}")?;
            return Ok(out.flush()?);
        }
        self.bar.set_message(format!("loss {:.4}  {:.0} tokens/s ", step.loss, tokens_per_s));
        self.bar.set_position(step.step + 1);
        let Some(held_out) = progress.held_out_loss else { return Ok(()) };
        let width = self.steps.to_string().len();
        let line = format!(
            "step {:>width$}  loss {:.4}  held out {held_out:.4}  lr {:.2e}",
            step.step + 1,
            step.loss,
            step.lr
        );
        let written = self.bar.suspend(|| writeln!(io::stdout(), "{line}"));
        Ok(written?)
    }
}

impl Drop for TrainingProgress {
    fn drop(&mut self) {
        if io::stderr().is_terminal() {
            self.bar.abandon();
        }
    }
}

/// A bar over a known number of things, with the time that is left; hidden where stderr is no terminal.
pub(crate) struct Counted(ProgressBar);

impl Counted {
    pub(crate) fn new(what: &str, all: usize) -> Self {
        let bar = ProgressBar::new(all as u64).with_message(what.to_owned());
        let template = "{pos}/{len} {bar:30.cyan/dim} {msg}  {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        Counted(bar)
    }

    /// So many are done.
    pub(crate) fn at(&mut self, done: usize) {
        self.0.set_position(done as u64);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
