//! A whole training: steps, held-out losses, checkpoints, and an orderly end when it is interrupted.

use crate::train::{Dataset, StepReport, Trainer};
use crate::{FormatError, ModelError, Tokenizer};
use retrograd_formats::DirectoryLock;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file of a checkpoint from which a training goes on.
pub const STATE_FILE: &str = "training-state.safetensors";

/// What a training is to do besides its steps.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// HF directory to write: at checkpoints, at the end, and when it is interrupted.
    pub out: PathBuf,
    /// Text whose loss is measured at intervals and at the end.
    pub held_out: Option<Dataset>,
    /// Steps between two such measurements; 0: at the end only.
    pub eval_every: u64,
    /// Steps between two checkpoints; 0: none but when interrupted.
    pub checkpoint_every: u64,
    /// Written beside the weights.
    pub tokenizer: Option<Tokenizer>,
}

/// A step that was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What it did.
    pub step: StepReport,
    /// The time it took, without measuring and saving.
    pub time: Duration,
    /// Loss of the held-out text after it, where it was measured.
    pub held_out_loss: Option<f32>,
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done; the state that only a resumption needs is removed.
    Complete,
    /// The caller ended it after this many steps; [`resume`] goes on from there.
    Interrupted {
        /// Steps done.
        steps: u64,
    },
}

/// The state that a training in `out` leaves when it is interrupted.
pub fn state_file(out: &Path) -> PathBuf {
    out.join(STATE_FILE)
}

/// Goes on where an interrupted training in `out` ended.
///
/// # Errors
/// When there is none, or its options, shape or text differ from the trainer's.
pub fn resume(trainer: &mut Trainer, out: &Path) -> Result<(), ModelError> {
    if !state_file(out).exists() {
        let reason = format!(
            "has no {STATE_FILE}: no training was cut off here behind its first checkpoint; start it without --resume"
        );
        return Err(FormatError::malformed(out, reason).into());
    }
    trainer.resume(&state_file(out))
}

/// Runs a training to its end, or until `on_step` breaks it off; the model is written either way. Where it fails, the
/// last checkpoint stands.
///
/// # Errors
/// When a step cannot be done or something cannot be written; when another process trains into that directory.
pub fn run(
    trainer: &mut Trainer,
    plan: &TrainingPlan,
    mut on_step: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Ending, ModelError> {
    let out = OutputDirectory::enter(&plan.out)?;
    let ending = steps(trainer, plan, &mut on_step);
    out.leave();
    ending
}

fn steps(
    trainer: &mut Trainer,
    plan: &TrainingPlan,
    on_step: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Ending, ModelError> {
    let steps = trainer.options().steps;
    let due = |every: u64, done: u64| every > 0 && done.is_multiple_of(every);
    while trainer.steps_done() < steps {
        let start = Instant::now();
        let step = trainer.step()?;
        let time = start.elapsed();
        let done = trainer.steps_done();
        let held_out_loss = match &plan.held_out {
            Some(text) if done == steps || due(plan.eval_every, done) => Some(trainer.evaluate(text)?),
            _ => None,
        };
        let stop = on_step(&Progress { step, time, held_out_loss }).is_break();
        if done < steps && (stop || due(plan.checkpoint_every, done)) {
            trainer.save_model(&plan.out, plan.tokenizer.as_ref())?;
            trainer.save_state(&state_file(&plan.out))?;
        }
        if stop && done < steps {
            return Ok(Ending::Interrupted { steps: done });
        }
    }
    trainer.save_model(&plan.out, plan.tokenizer.as_ref())?;
    // Nothing goes on from a training that is complete; that there is no such file is as well.
    let _ = std::fs::remove_file(state_file(&plan.out));
    Ok(Ending::Complete)
}

/// The directory of a training, which one process at a time writes to.
struct OutputDirectory<'a> {
    path: &'a Path,
    created: bool,
    lock: DirectoryLock,
}

impl<'a> OutputDirectory<'a> {
    fn enter(path: &'a Path) -> Result<Self, ModelError> {
        let created = !path.exists();
        std::fs::create_dir_all(path).map_err(|error| FormatError::io(path, error))?;
        let lock = DirectoryLock::acquire(path, "training")?;
        Ok(OutputDirectory { path, created, lock })
    }

    /// A training that failed before it wrote anything leaves no directory.
    fn leave(self) {
        drop(self.lock);
        if self.created {
            // Fails where there is something in it, which is then kept.
            let _ = std::fs::remove_dir(self.path);
        }
    }
}
