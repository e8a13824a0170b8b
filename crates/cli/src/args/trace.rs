//! Everything that asks for one forward and one backward pass.

use super::{CaptureArgs, InterventionArgs, ModelArgs, ObjectiveArgs, PromptArgs};
use crate::engine::{self, ModelFiles, Traced};
use crate::error::CliError;
use clap::Args;
use retrograd::{Capture, Interventions, Objective, Site, TokenId, TraceRequest};

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
    /// Checks everything, then runs the pass, for `trace`: `--fit` may leave layers out. Without `--sites`, the tensors that `otherwise` names for a
    /// model of that many layers are kept; `None` keeps all.
    pub(crate) fn run(
        &self,
        files: &ModelFiles,
        otherwise: Option<fn(usize) -> Vec<Site>>,
    ) -> Result<Traced, CliError> {
        let capture = self.capture.capture(otherwise.map(|sites| sites(files.config.n_layer)))?;
        let (ids, objective) = self.asked(files)?;
        let request = TraceRequest::new(ids, objective).capture(capture);
        Ok(self.run_request(files, request, engine::trace_fitting)?.0)
    }

    /// The same, with what is kept decided by the caller.
    pub(crate) fn run_keeping(&self, files: &ModelFiles, capture: Capture) -> Result<Traced, CliError> {
        Ok(self.run_changed(files, capture)?.0)
    }

    /// The same, and what was changed in the forward pass, which a trace does not say.
    pub(crate) fn run_changed(
        &self,
        files: &ModelFiles,
        capture: Capture,
    ) -> Result<(Traced, Interventions), CliError> {
        let (ids, objective) = self.asked(files)?;
        self.run_request(files, TraceRequest::new(ids, objective).capture(capture), engine::trace)
    }

    /// Tokens and loss.
    fn asked(&self, files: &ModelFiles) -> Result<(Vec<TokenId>, Objective), CliError> {
        let mut ids = self.prompt.tokens(files)?;
        let objective = self.objective.objective(&mut ids, files)?;
        Ok((ids, objective))
    }

    /// The same where an objective may be missing: then it is the loss of what the model answers.
    pub(crate) fn run_answering(
        &self,
        files: &ModelFiles,
        capture: Capture,
    ) -> Result<(Traced, Interventions), CliError> {
        if self.objective.is_given() {
            return self.run_changed(files, capture);
        }
        // Any token will do where the model says which.
        let request = TraceRequest::new(self.prompt.tokens(files)?, Objective::Target(TokenId(0)));
        self.run_request(files, request.capture(capture), engine::trace_answer)
    }

    fn run_request(
        &self,
        files: &ModelFiles,
        request: TraceRequest,
        trace: fn(&ModelArgs, &ModelFiles, &TraceRequest, Option<&str>) -> Result<Traced, CliError>,
    ) -> Result<(Traced, Interventions), CliError> {
        let interventions = self.interventions.interventions(&files.config, request.ids.len())?;
        let request = request.interventions(interventions.clone());
        Ok((trace(&self.model, files, &request, self.prompt.prompt.as_deref())?, interventions))
    }
}
