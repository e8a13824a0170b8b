//! `retrograd edit`

mod choice;
mod facts;
mod run;
mod table;

use crate::args::{ModelArgs, PromptArgs};
use crate::engine::{Engine, ModelFiles};
use crate::error::CliError;
use crate::progress::Spinner;
use clap::{Args, ValueEnum};
use retrograd::Gpt2;
use retrograd::formats::AtomicDir;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  retrograd edit 'The capital of France is' --target ' Rome' --dry-run
  retrograd edit 'The capital of France is' --target ' Rome' --method sgd --params mlp --eta 0.05 --out edited
  retrograd edit 'The capital of France is' --target ' Rome' --sweep
  retrograd edit --compare models/atlas/counterfact.json --text models/atlas/counterfact-text.txt";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EditCommand {
    #[command(flatten)]
    prompt: PromptArgs,
    /// What the model is to answer; it begins with a blank where a word begins: ' Rome'
    #[arg(long, value_name = "TOKEN", conflicts_with = "target_id")]
    target: Option<String>,
    /// The same, by id
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    target_id: Option<String>,
    /// Several edits: JSON Lines of {"prompt", "target"}, or "ids" and "target_id"
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "ids", "target", "target_id"])]
    edits: Option<PathBuf>,
    #[command(flatten)]
    plan: PlanArgs,
    /// Act though the target is the answer already
    #[arg(long)]
    force: bool,
    /// Model directory to write, new or empty; the original is not touched
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dry_run", "sweep"])]
    out: Option<PathBuf>,
    /// Show the effect, write nothing
    #[arg(long)]
    dry_run: bool,
    /// Try layers and step sizes and show the table
    #[arg(long)]
    sweep: bool,
    #[command(flatten)]
    evaluation: EvaluationArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Args)]
#[command(next_help_heading = "How it is edited")]
struct PlanArgs {
    /// Forward pass shift of one layer, or steps down the loss from the gradient factors
    #[arg(long, value_enum, default_value = "shift")]
    method: MethodName,
    /// The layer of a shift, or 'auto': the least change that makes the target the answer
    #[arg(long, value_name = "L", default_value = "auto", allow_hyphen_values = true)]
    layer: String,
    /// Only these layers, as in 0,3-5: those that sgd changes, or that a shift chooses from
    #[arg(long, value_name = "LAYERS", allow_hyphen_values = true)]
    layers: Option<String>,
    /// What sgd changes: mlp, attn, all, or names such as mlp.c_proj and transformer.h.2.mlp.c_fc [default: mlp]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    params: Vec<String>,
    /// sgd changes biases too; without, weights only
    #[arg(long)]
    biases: bool,
    /// Step size [default: the smallest of --etas that makes the target the answer]
    #[arg(long, value_name = "E", allow_hyphen_values = true)]
    eta: Option<f32>,
    /// Step sizes to choose from, as in 0.1,0.2,0.5 [default: 0.01 to 10]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        conflicts_with = "eta"
    )]
    etas: Vec<f32>,
    /// Steps, each from a new pass
    #[arg(long, value_name = "N", default_value_t = 1)]
    steps: usize,
    /// End as soon as the target is the answer
    #[arg(long)]
    stop_on_success: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MethodName {
    /// Forward pass shift: one forward pass, no backward pass
    Shift,
    /// W ← W − η·xᵀδ
    Sgd,
}

/// Flags that have no meaning for a whole file of facts.
const SINGLE: [&str; 8] = ["prompt", "ids", "target", "target_id", "edits", "out", "dry_run", "force"];

#[derive(Args)]
#[command(next_help_heading = "Evaluation on a CounterFact file")]
struct EvaluationArgs {
    /// Measure the method on every record: efficacy, paraphrase, neighbourhood, entropy, perplexity
    #[arg(long, value_name = "FILE", conflicts_with_all = SINGLE)]
    evaluate: Option<PathBuf>,
    /// Measure every method at its best, beside the model as it is
    #[arg(long, value_name = "FILE", conflicts_with_all = SINGLE, conflicts_with_all = ["evaluate", "sweep"])]
    compare: Option<PathBuf>,
    /// A text whose perplexity is measured after each edit
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Only the first N records
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Tokens to generate after each generation prompt for the entropy; 0 for none
    #[arg(long, value_name = "N", default_value_t = 40)]
    generate: usize,
}

impl EditCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if self.model.device.is_reference() {
            return Err(CliError::Failed(
                "--adapter reference: serves traces; editing needs a device ('retrograd doctor' lists them)"
                    .to_owned(),
            ));
        }
        if let Some(file) = self.evaluation.evaluate.as_ref().or(self.evaluation.compare.as_ref()) {
            return self.on_file(file);
        }
        if !self.sweep && !self.dry_run && self.out.is_none() {
            return Err(CliError::Usage(
                "say where to: --out DIR writes the edited model, --dry-run shows the effect, --sweep tries \
                 layers and step sizes"
                    .to_owned(),
            ));
        }
        if let Some(out) = &self.out {
            AtomicDir::check(out)?;
        }
        self.on_facts()
    }

    /// Loads the model onto a device.
    fn load(&self, files: &ModelFiles) -> Result<Gpt2, CliError> {
        let _spinner = Spinner::new(format!("loading {}", files.dir.display()));
        match Engine::open(&self.model, files)? {
            Engine::Device(model) => Ok(model),
            Engine::Reference(_) => Err(CliError::Failed("--adapter: editing needs a device".to_owned())),
        }
    }
}
