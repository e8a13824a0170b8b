//! The flags that several commands share, and how they become requests.

mod capture;
mod device;
mod html;
mod interventions;
mod measured;
mod model;
mod objective;
mod prompt;
mod task;
mod trace;

pub(crate) use capture::CaptureArgs;
pub(crate) use device::DeviceArgs;
pub(crate) use html::HtmlArgs;
pub(crate) use interventions::InterventionArgs;
pub(crate) use measured::{MeasureArgs, MeasuredModel, PrecisionArg};
pub(crate) use model::ModelArgs;
pub(crate) use objective::ObjectiveArgs;
pub(crate) use prompt::{PromptArgs, require_tokenizer};
pub(crate) use task::{Part, TaskPromptArgs, TaskRun};
pub(crate) use trace::TraceArgs;
