//! How an edit is made.

use retrograd_formats::{Config, Layer, LinearKind, LinearLayer, RequestError};
use serde::{Serialize, Serializer};

/// What is written where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Forward pass shift of one layer's `mlp.c_proj`.
    Shift {
        /// The block.
        layer: usize,
    },
    /// A step down the target's loss, from the gradient factors.
    Sgd {
        /// The linear layers that take it.
        layers: Vec<LinearLayer>,
        /// Whether their biases take it too.
        biases: bool,
    },
}

/// A method with its step size and number of steps.
#[derive(Clone, Debug, PartialEq)]
pub struct EditPlan {
    /// What is written where.
    pub method: Method,
    /// η, the step size.
    pub eta: f32,
    /// Steps, each from a new pass over the model as it is then.
    pub steps: usize,
    /// End as soon as the target is the answer.
    pub stop_on_success: bool,
    /// Act though the target is the answer already.
    pub force: bool,
}

impl EditPlan {
    /// A shift of one layer in one step.
    pub fn shift(layer: usize, eta: f32) -> Self {
        EditPlan::new(Method::Shift { layer }, eta)
    }

    /// One step down the loss, weights only.
    pub fn sgd(layers: Vec<LinearLayer>, eta: f32) -> Self {
        EditPlan::new(Method::Sgd { layers, biases: false }, eta)
    }

    fn new(method: Method, eta: f32) -> Self {
        EditPlan { method, eta, steps: 1, stop_on_success: false, force: false }
    }

    /// Checks it against the model.
    pub fn check(&self, config: &Config) -> Result<(), RequestError> {
        if !self.eta.is_finite() {
            return Err(RequestError::invalid("eta", format!("{} is not a finite number", self.eta)));
        }
        if self.steps == 0 {
            return Err(RequestError::invalid("steps", "must be at least 1"));
        }
        let layers = self.layers();
        if layers.is_empty() {
            return Err(RequestError::invalid("params", "name no linear layer"));
        }
        for layer in layers {
            match layer {
                LinearLayer::Block(Layer(index), _) if index >= config.n_layer => {
                    let reason =
                        format!("{index} is not a layer of the model, which has 0 to {}", config.n_layer - 1);
                    return Err(RequestError::invalid("layer", reason));
                }
                LinearLayer::LmHead => {
                    let reason = "lm_head is the embedding of the tokens too: choose layers of the blocks";
                    return Err(RequestError::invalid("params", reason));
                }
                LinearLayer::Block(..) => {}
            }
        }
        Ok(())
    }

    /// The linear layers that are changed.
    pub fn layers(&self) -> Vec<LinearLayer> {
        match &self.method {
            Method::Shift { layer } => vec![LinearLayer::Block(Layer(*layer), LinearKind::MlpProj)],
            Method::Sgd { layers, .. } => layers.clone(),
        }
    }

    /// The blocks that are changed, ascending.
    pub fn blocks(&self) -> Vec<usize> {
        let mut blocks: Vec<usize> = self
            .layers()
            .into_iter()
            .filter_map(|layer| match layer {
                LinearLayer::Block(Layer(index), _) => Some(index),
                LinearLayer::LmHead => None,
            })
            .collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks
    }
}

impl Method {
    /// `sgd` or `shift`.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Shift { .. } => "shift",
            Method::Sgd { .. } => "sgd",
        }
    }
}

impl Serialize for Method {
    /// Its name.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
