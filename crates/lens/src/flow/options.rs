//! What of a pass becomes a node, and how thick its links are.

use retrograd_formats::{Config, Interventions, RequestError};
use serde::Serialize;

/// How many of a kind a layer shows. The defaults are those of VISIT's own tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowCounts {
    /// Heads with the largest ‖z_h‖; `None` shows all.
    pub heads: Option<usize>,
    /// Keys of each head that get the most attention, and as many values.
    pub keys: usize,
    /// Rows of `attn.c_proj.weight` with the largest z_i·‖W_O\[i\]‖.
    pub rows_top: usize,
    /// Rows with the smallest, the most negative first.
    pub rows_bottom: usize,
    /// Neurons of the MLP with the largest g_i·‖W_2\[i\]‖.
    pub neurons_top: usize,
    /// Neurons with the smallest, the most negative first.
    pub neurons_bottom: usize,
}

impl Default for FlowCounts {
    fn default() -> Self {
        FlowCounts {
            heads: Some(10),
            keys: 2,
            rows_top: 18,
            rows_bottom: 7,
            neurons_top: 18,
            neurons_bottom: 7,
        }
    }
}

/// What link weights are multiplied by. The defaults are those of VISIT's own tool, which chose them for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FlowFactors {
    /// All queries, keys and values → query of a head: times ‖W_k,h·q_h‖.
    pub query: f64,
    /// Query → key and key → value: times A.
    pub attention: f64,
    /// Value → output of its head: times A·‖v·W_O,h‖.
    pub value: f64,
    /// The least weight of a link that A has a part in: thin, but to be seen.
    pub attention_least: f64,
    /// Output of a head → concatenated heads: times ‖z_h·W_O,h‖.
    pub head_output: f64,
    /// Into a row, a neuron's key or a bias: the weight itself.
    pub into_neuron: f64,
    /// Key → value of a neuron: times |g_i|.
    pub neuron: f64,
    /// Between the two biases of the MLP: the weight itself.
    pub between_biases: f64,
}

impl Default for FlowFactors {
    fn default() -> Self {
        FlowFactors {
            query: 0.2,
            attention: 10.0,
            value: 1.3,
            attention_least: 0.51,
            head_output: 1.8,
            into_neuron: 7.0,
            neuron: 1.5,
            between_biases: 0.05,
        }
    }
}

impl FlowFactors {
    /// The names that [`set`](FlowFactors::set) takes.
    pub const NAMES: [&'static str; 8] = [
        "query",
        "attention",
        "value",
        "attention-least",
        "head-output",
        "into-neuron",
        "neuron",
        "between-biases",
    ];

    /// Sets one factor, given as `NAME=VALUE`.
    ///
    /// # Errors
    /// When there is no such factor or the value is not a finite number from 0.
    pub fn set(&mut self, assignment: &str) -> Result<(), RequestError> {
        let invalid = |reason: String| RequestError::invalid("--factor", reason);
        let (name, value) = assignment
            .split_once('=')
            .ok_or_else(|| invalid(format!("'{assignment}' is not NAME=VALUE, as in attention=10")))?;
        let number: f64 = value.trim().parse().unwrap_or(f64::NAN);
        if !number.is_finite() || number < 0.0 {
            return Err(invalid(format!("'{value}' for {name} is not a number from 0")));
        }
        let factor = match name.trim() {
            "query" => &mut self.query,
            "attention" => &mut self.attention,
            "value" => &mut self.value,
            "attention-least" => &mut self.attention_least,
            "head-output" => &mut self.head_output,
            "into-neuron" => &mut self.into_neuron,
            "neuron" => &mut self.neuron,
            "between-biases" => &mut self.between_biases,
            other => {
                return Err(invalid(format!("'{other}' is none of {}", FlowFactors::NAMES.join(", "))));
            }
        };
        *factor = number;
        Ok(())
    }
}

/// How a flow graph is made.
#[derive(Clone, Debug)]
pub struct FlowOptions {
    /// The blocks, ascending; `None` takes all.
    pub layers: Option<Vec<usize>>,
    /// The position whose computation is shown; `None` takes the last.
    pub position: Option<usize>,
    /// What becomes a node.
    pub counts: FlowCounts,
    /// How thick links are.
    pub factors: FlowFactors,
    /// How many of the most and of the least probable tokens each node names.
    pub top: usize,
    /// Divides each vector by its norm before it is read in the vocabulary.
    pub normalize: bool,
    /// Whether nodes carry their backward signal and attention links R.
    pub gradient: bool,
    /// What was changed in the forward pass that is shown: a trace does not say.
    pub interventions: Interventions,
}

impl Default for FlowOptions {
    fn default() -> Self {
        FlowOptions {
            layers: None,
            position: None,
            counts: FlowCounts::default(),
            factors: FlowFactors::default(),
            top: 10,
            normalize: false,
            gradient: true,
            interventions: Interventions::default(),
        }
    }
}

impl FlowOptions {
    /// The blocks that are shown.
    ///
    /// # Errors
    /// When none is chosen, or the model has no such block.
    pub fn blocks(&self, config: &Config) -> Result<Vec<usize>, RequestError> {
        let mut blocks = self.layers.clone().unwrap_or_else(|| (0..config.n_layer).collect());
        blocks.sort_unstable();
        blocks.dedup();
        let last = config.n_layer.saturating_sub(1);
        match blocks.last() {
            None => Err(RequestError::invalid("--layers", "name no layer")),
            Some(block) if *block > last => Err(RequestError::invalid(
                "--layers",
                format!("{block} is not a layer of the model, which has 0 to {last}"),
            )),
            Some(_) => Ok(blocks),
        }
    }

    /// The position that is shown among `tokens`.
    pub(super) fn position_in(&self, tokens: usize) -> Result<usize, RequestError> {
        let last = tokens.saturating_sub(1);
        match self.position {
            None => Ok(last),
            Some(position) if position < tokens => Ok(position),
            Some(position) => Err(RequestError::invalid(
                "--position",
                format!("{position} is not a position of the prompt, which has 0 to {last}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_by_name() {
        let mut factors = FlowFactors::default();
        for name in FlowFactors::NAMES {
            factors.set(&format!("{name}=2.5")).unwrap();
        }
        let all = serde_json::to_value(factors).unwrap();
        assert!(all.as_object().unwrap().values().all(|value| value == 2.5));
        for (text, part) in [
            ("attention", "NAME=VALUE"),
            ("atention=1", "'atention' is none of query, attention"),
            ("value=x", "'x' for value"),
            ("value=-1", "from 0"),
            ("value=inf", "from 0"),
        ] {
            assert!(factors.set(text).unwrap_err().reason.contains(part), "{text}");
        }
    }
}
