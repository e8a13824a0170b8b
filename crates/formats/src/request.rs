//! What a trace is asked for, and how any trace is read, whoever computed it.

use crate::{
    Capture, Config, HostTensor, Interventions, Objective, RequestError, ResolvedObjective, Site, TokenId,
};

/// One forward and one backward pass: tokens, objective, interventions, and what is kept.
#[derive(Clone, Debug)]
pub struct TraceRequest {
    /// The tokens, 1 to `n_positions` of them.
    pub ids: Vec<TokenId>,
    /// What is differentiated.
    pub objective: Objective,
    /// What is changed in the forward pass.
    pub interventions: Interventions,
    /// Which tensors are kept.
    pub capture: Capture,
}

impl TraceRequest {
    /// Everything is kept and nothing changed.
    pub fn new(ids: Vec<TokenId>, objective: Objective) -> Self {
        TraceRequest { ids, objective, interventions: Interventions::default(), capture: Capture::all() }
    }

    /// Replaces what is differentiated.
    pub fn objective(mut self, objective: Objective) -> Self {
        self.objective = objective;
        self
    }

    /// Replaces what is kept.
    pub fn capture(mut self, capture: Capture) -> Self {
        self.capture = capture;
        self
    }

    /// Replaces what is changed.
    pub fn interventions(mut self, interventions: Interventions) -> Self {
        self.interventions = interventions;
        self
    }

    /// Checks everything against the model.
    pub fn resolve(&self, config: &Config) -> Result<ResolvedObjective, RequestError> {
        check_ids(&self.ids, config)?;
        self.interventions.check(config, self.ids.len())?;
        self.capture.check(config)?;
        self.objective.resolve(&self.ids, config)
    }
}

/// Checks that there are 1 to `n_positions` tokens, all inside the vocabulary.
pub(crate) fn check_ids(ids: &[TokenId], config: &Config) -> Result<(), RequestError> {
    if ids.is_empty() {
        return Err(RequestError::invalid("tokens", "there are none: give a prompt or --ids"));
    }
    if ids.len() > config.n_positions {
        return Err(RequestError::invalid(
            "tokens",
            format!("{} are more than the model's n_positions of {}", ids.len(), config.n_positions),
        ));
    }
    if let Some((at, id)) = ids.iter().enumerate().find(|(_, id)| id.0 as usize >= config.vocab_size) {
        return Err(RequestError::invalid(
            "tokens",
            format!("id {id} at position {at} is outside the vocabulary of {}", config.vocab_size),
        ));
    }
    Ok(())
}

/// Where a trace came from and what was differentiated.
#[derive(Clone, Debug)]
pub struct TraceMeta {
    /// The model's directory or name.
    pub model: String,
    /// The text, where there was one.
    pub prompt: Option<String>,
    /// The tokens.
    pub ids: Vec<TokenId>,
    /// The objective with its positions and targets.
    pub objective: ResolvedObjective,
    /// Adapter name, or `reference`.
    pub adapter: String,
    /// Driver name and version.
    pub driver: String,
    /// The model's shape.
    pub config: Config,
}

/// Frobenius norms of the attention maps of every head, and its attribution, by layer and head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadNorms {
    /// ‖A‖, `[n_layer][n_head]`.
    pub pattern: Vec<Vec<f64>>,
    /// ‖R‖, `[n_layer][n_head]`.
    pub reversed: Vec<Vec<f64>>,
    /// Σ A ⊙ ∂L/∂A = Σ o ⊙ ∂L/∂o, `[n_layer][n_head]`: attribution patching against zero. To first order silencing the head
    /// changes the loss by its negative.
    pub attribution: Vec<Vec<f64>>,
}

/// A finished trace: on the device, from the oracle, or read from a file.
pub trait TraceRead {
    /// Where it came from.
    fn meta(&self) -> &TraceMeta;

    /// The tensors it holds, in the order of a trace file.
    fn sites(&self) -> Vec<Site>;

    /// Reads several tensors at once (one staging copy on a device). Every site must be among
    /// [`sites`](TraceRead::sites); one that is not is an error that says how to capture it.
    fn read_all(&self, sites: &[Site]) -> Result<Vec<HostTensor>, RequestError>;

    /// Reads one tensor.
    fn read(&self, site: Site) -> Result<HostTensor, RequestError> {
        let mut tensors = self.read_all(&[site])?;
        tensors.pop().ok_or_else(|| RequestError::invalid(site.to_string(), "was not returned by the trace"))
    }

    /// The norms of every head's maps, where they were captured by themselves
    /// ([`Capture::head_norms`](crate::Capture::head_norms)).
    fn head_norms(&self) -> Result<Option<HeadNorms>, RequestError> {
        Ok(None)
    }

    /// The loss.
    fn loss(&self) -> Result<f32, RequestError> {
        Ok(self.read(Site::Loss)?.as_f32()[0])
    }
}
