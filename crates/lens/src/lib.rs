//! Views on a trace: which heads the backward pass went through, what every weight gradient is made of,
//! and a summary of the whole.
//!
//! Everything here works on the host and asks a [`TraceRead`](retrograd_formats::TraceRead) for the
//! tensors it needs: a trace on a device, one from the f64 oracle or one from a file, complete or with
//! only some sites captured.

mod accuracy;
mod compare;
pub mod edit;
mod factorization;
mod flow;
mod gradient;
mod heads;
mod maps;
mod mean_trace;
mod mediate;
mod patching;
mod perturb;
mod probability;
mod statistic;
mod summary;
mod task;
mod task_attention;
mod task_report;
mod token_text;
mod vocabulary;

pub use accuracy::Accuracy;
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
pub use maps::{HeadStatistics, LayoutMaps, MapSpan, MeanMaps, TaskMaps, task_maps, task_sizes};
pub use mean_trace::{MapMoment, MeanTrace};
pub use mediate::{
    Ablation, HeadEffect, Mediation, MediationReport, mean_outputs, mediate, mediate_by_means,
};
pub use patching::{
    BestPatch, DEFAULT_ALPHAS, PatchPoint, PatchReport, aligned, best_patches, mean_patch, patch_accuracy,
};
pub use perturb::{
    KeptPoint, NamedOrder, OrderBy, PerturbCurves, PerturbReport, all_heads, area, descending,
    order_by_chance, order_by_effect, order_by_size, perturb, perturb_orderings,
};
pub use probability::{Prediction, TargetPrediction, answer_token};
pub use statistic::Statistic;
pub use summary::{DeltaNorms, LayerNorms, PositionPredictions, TraceSummary, summarize, summary_sites};
pub use task::{
    Example, PromptOptions, SplitShares, Splits, Task, TaskPrompt, Template, by_layout, prompts,
    shuffled_prompts,
};
pub use task_attention::{ObjectiveHeads, ObjectivesReport, TaskAttentionReport, TaskHead, task_attention};
pub use task_report::{TaskFindings, overview};
pub use token_text::{TokenText, token_texts, visible};
pub use vocabulary::{
    DEFAULT_LENS_SITES, LensEntry, LensOptions, LensReport, LensTable, is_readable, lens, lens_capture,
    lens_csv, lens_sites,
};
