//! Views on a trace: which heads the backward pass went through, what every weight gradient is made of,
//! and a summary of the whole.
//!
//! Everything here works on the host and asks a [`TraceRead`](retrograd_formats::TraceRead) for the
//! tensors it needs: a trace on a device, one from the f64 oracle or one from a file, complete or with
//! only some sites captured.

mod compare;
pub mod edit;
mod factorization;
mod flow;
mod gradient;
mod heads;
mod probability;
mod summary;
mod token_text;
mod vocabulary;

pub use compare::{Deviation, compare, worst};
pub use flow::{
    FlowCounts, FlowFactors, FlowLink, FlowNode, FlowOptions, FlowReport, LinkKind, NodeGradient, NodeKind,
    flow, flow_capture,
};
pub use gradient::{
    DeltaSimilarity, GradientFactors, GradientReport, GradientSvd, MatrixGradient, RANK_TOLERANCE, gradient,
    gradient_report, gradient_report_sites,
};
pub use heads::{AttentionReport, HeadScore, Pair, attention_report, rank_heads, strongest_pairs};
pub use probability::{Prediction, TargetPrediction, answer_token};
pub use summary::{DeltaNorms, LayerNorms, PositionPredictions, TraceSummary, summarize, summary_sites};
pub use token_text::{TokenText, token_texts, visible};
pub use vocabulary::{
    DEFAULT_LENS_SITES, LensEntry, LensOptions, LensReport, LensTable, is_readable, lens, lens_capture,
    lens_csv, lens_sites,
};
