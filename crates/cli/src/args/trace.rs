//! Everything that asks for one forward and one backward pass.

use super::{CaptureArgs, InterventionArgs, ModelArgs, ObjectiveArgs, PromptArgs};
use crate::engine::{self, ModelFiles, Traced};
use crate::error::CliError;
use clap::Args;
use retrograd::{Capture, Site, TraceRequest};

/// The common flags of the commands that look at a trace.
#[derive(Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) prompt: PromptArgs,
    #[command(flatten)]
    pub(crate) objective: ObjectiveArgs,
    #[command(flatten)]
    pub(crate) capture: CaptureArgs,
    #[command(flatten)]
    pub(crate) interventions: InterventionArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

impl TraceArgs {
    /// Checks everything, then runs the pass. Without `--sites`, the tensors that `otherwise` names for a
    /// model of that many layers are kept; `None` keeps all.
    pub(crate) fn run(
        &self,
        files: &ModelFiles,
        otherwise: Option<fn(usize) -> Vec<Site>>,
    ) -> Result<Traced, CliError> {
        let capture = self.capture.capture(otherwise.map(|sites| sites(files.config.n_layer)))?;
        self.run_keeping(files, capture)
    }

    /// The same, with what is kept decided by the caller.
    pub(crate) fn run_keeping(&self, files: &ModelFiles, capture: Capture) -> Result<Traced, CliError> {
        let mut ids = self.prompt.tokens(files)?;
        let objective = self.objective.objective(&mut ids, files)?;
        let interventions = self.interventions.interventions(&files.config, ids.len())?;
        let request = TraceRequest::new(ids, objective).interventions(interventions).capture(capture);
        engine::trace(&self.model, files, &request, self.prompt.prompt.as_deref())
    }
}
