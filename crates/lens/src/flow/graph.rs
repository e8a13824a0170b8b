//! Nodes and links as they are written.

use super::{FlowCounts, FlowFactors};
use crate::{Prediction, TargetPrediction, TokenText};
use serde::Serialize;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// r: the residual stream as it enters the block.
    BlockInput,
    /// u = LN1(r)
    AttentionInput,
    /// `[q k v]` of all heads; not a vector of the model's width, so that it reads as nothing.
    Qkv,
    /// q_h, read as W_k,h·q_h: what it looks for in the attention inputs of others.
    Query,
    /// k_h of a position, read as W_q,h·k_h: what is to look for it.
    Key,
    /// v_h of a position, read as v_h·W_O,h.
    Value,
    /// z_h, read as z_h·W_O,h: what the head adds to the residual stream.
    HeadOutput,
    /// z of all heads, read as z·W_O.
    ConcatenatedHeads,
    /// A row of W_O with the activation z_i.
    ProjectionRow,
    /// b_O
    ProjectionBias,
    /// z·W_O + b_O
    AttentionOutput,
    /// r′: the residual stream after attention.
    ResidualMid,
    /// m = LN2(r′)
    MlpInput,
    /// A column of W_1, whose match with m is the neuron's pre-activation f_i.
    NeuronKey,
    /// A row of W_2 with the activation g_i.
    NeuronValue,
    /// b_1, read as b_1·W_2.
    MlpKeyBias,
    /// b_2
    MlpBias,
    /// g·W_2 + b_2
    MlpOutput,
    /// r″: the residual stream as it leaves the block.
    BlockOutput,
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// From one block to the next.
    Stream,
    /// Into a sum of the residual stream.
    Residual,
    /// Through a LayerNorm.
    LayerNorm,
    /// Into queries, keys and values of all heads.
    Qkv,
    /// To the query of one head.
    Query,
    /// From a query to a key that it attends to.
    Score,
    /// From a key to its value.
    Attention,
    /// From a value to the output of its head.
    Mix,
    /// From a head's output to all of them.
    Concat,
    /// Into a row, a neuron's key or a bias.
    IntoNeuron,
    /// From a neuron's key to its value.
    Neuron,
    /// From a row of W_O or W_2, or a bias, to the sum.
    Write,
    /// Between the biases of the MLP.
    BetweenBiases,
}

/// The backward signal of a node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeGradient {
    /// ‖∂L/∂node‖
    pub norm: f64,
    /// ⟨node, ∂L/∂node⟩: what the loss changes by, to first order, for each part by which the node grows. Where it is
    /// negative, more of the node lowers the loss.
    pub inner: f64,
}

/// A node: something that one position of the pass computed, read in the vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowNode {
    /// Unique in the graph: `L3.head.7.key.2`, `L3.mlp.value.411`.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// The block.
    pub layer: usize,
    /// The head, where it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// The row of W_O, or the neuron.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// The position that it was computed at; `None` for weights, which have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// In a few words.
    pub label: String,
    /// z_i of a row of W_O, f_i of a neuron's key, g_i of its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<f64>,
    /// The norm of the vector that is read; of `[q k v]`, its own.
    pub norm: f64,
    /// Whether the least probable tokens are those that it writes: its activation is negative.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bottom_first: bool,
    /// The most probable tokens, the most probable first.
    pub top: Vec<Prediction>,
    /// The least probable tokens, the least probable first.
    pub bottom: Vec<Prediction>,
    /// How many tokens are strictly more probable than the target.
    pub target_rank: Option<usize>,
    /// The target's probability.
    pub target_probability: Option<f64>,
    /// Entropy of the distribution over the vocabulary, in bits.
    pub entropy_bits: Option<f64>,
    /// The backward signal, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient: Option<NodeGradient>,
    /// Place in the drawing: columns of a block from left to right.
    pub x: f64,
    /// Place in the drawing, downwards; the residual stream is on top of its block.
    pub y: f64,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowLink {
    /// Id of the node that it leaves.
    pub source: String,
    /// Id of the node that it enters.
    pub target: String,
    /// What it is.
    pub kind: LinkKind,
    /// Its thickness.
    pub weight: f64,
    /// A of the head at (position, key), as it multiplies the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<f64>,
    /// R of the head at (position, key), where the gradient was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversed: Option<f64>,
}

/// The document of `retrograd flow --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowReport {
    /// `retrograd-flow/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The tokens of the pass.
    pub tokens: Vec<TokenText>,
    /// The position that is shown.
    pub position: usize,
    /// The blocks that are shown.
    pub layers: Vec<usize>,
    /// The most probable token after the last position that carries loss.
    pub answer: Prediction,
    /// What the objective wants there.
    pub target: Option<TargetPrediction>,
    /// The loss.
    pub loss: f32,
    /// Whether vectors were divided by their norm before they were read.
    pub normalized: bool,
    /// What became a node.
    pub counts: FlowCounts,
    /// What weights were multiplied by.
    pub factors: FlowFactors,
    /// By layer, in the order of the forward pass.
    pub nodes: Vec<FlowNode>,
    /// By layer, in the order of the forward pass.
    pub links: Vec<FlowLink>,
}
