//! Documents about the heads of a task, and of several objectives on one prompt.

use crate::{HeadScore, MapSpan, TaskMaps, TokenText};
use retrograd_formats::Head;
use serde::Serialize;

/// The sizes of a head over a task's prompts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TaskHead {
    /// The block.
    pub layer: usize,
    /// The head within the block.
    pub head: usize,
    /// Mean ‖R‖.
    pub reversed_norm: f64,
    /// Its standard deviation.
    pub reversed_std: f64,
    /// Mean ‖A‖.
    pub pattern_norm: f64,
    /// Its standard deviation.
    pub pattern_std: f64,
    /// Mean Σ A ⊙ ∂L/∂A: to first order silencing the head changes the loss by its negative.
    pub attribution: f64,
}

impl TaskHead {
    /// The head.
    pub fn id(&self) -> Head {
        Head { layer: self.layer, head: self.head }
    }
}

/// The document of `retrograd attention --task --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskAttentionReport {
    /// `retrograd-attention/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// Empty: the prompts differ.
    pub tokens: Vec<TokenText>,
    /// The task and how its prompts were made.
    pub task: serde_json::Value,
    /// What the passes went over.
    pub span: MapSpan,
    /// Prompts that were traced.
    pub prompts: usize,
    /// Mean loss.
    pub loss: f64,
    /// By descending mean ‖R‖.
    pub heads: Vec<TaskHead>,
}

/// Ranks the heads of a task's prompts.
pub fn task_attention(model: &str, task: serde_json::Value, maps: &TaskMaps) -> TaskAttentionReport {
    let mut heads: Vec<TaskHead> = maps
        .heads
        .iter()
        .map(|head| TaskHead {
            layer: head.layer,
            head: head.head,
            reversed_norm: head.reversed_norm.mean,
            reversed_std: head.reversed_norm.std,
            pattern_norm: head.pattern_norm.mean,
            pattern_std: head.pattern_norm.std,
            attribution: head.attribution.mean,
        })
        .collect();
    heads.sort_by(|a, b| b.reversed_norm.total_cmp(&a.reversed_norm));
    TaskAttentionReport {
        schema: "retrograd-attention/1",
        model: model.to_owned(),
        tokens: Vec::new(),
        task,
        span: maps.span,
        prompts: maps.prompts,
        loss: maps.loss.mean,
        heads,
    }
}

/// The heads of one of several objectives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectiveHeads {
    /// The target.
    pub target: TokenText,
    /// The loss.
    pub loss: f32,
    /// By descending ‖R‖.
    pub heads: Vec<HeadScore>,
}

/// The document of `retrograd attention --also --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectivesReport {
    /// `retrograd-attention/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The tokens of the forward pass, which all share.
    pub tokens: Vec<TokenText>,
    /// One for each objective.
    pub objectives: Vec<ObjectiveHeads>,
}
