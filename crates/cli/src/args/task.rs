//! Which task, and how its prompts are made.

use super::{ModelArgs, require_tokenizer};
use crate::engine::{Engine, ModelFiles};
use crate::error::CliError;
use clap::{Args, ValueEnum};
use retrograd::lens::{MapSpan, PromptOptions, SplitShares, Splits, Task, TaskPrompt, Template, prompts};
use retrograd::{Gpt2, RequestError};
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(next_help_heading = "Task prompts")]
pub(crate) struct TaskPromptArgs {
    /// What a traced pass goes over: the prompt, with the loss on the answer's first token, or prompt and answer, with
    /// the mean loss of the answer's tokens
    #[arg(long, value_enum, default_value = "prompt")]
    span: SpanName,
    /// Ask for the first token of answers of several tokens; without, they are refused where one token is needed
    #[arg(long)]
    first_token: bool,
    /// Prompts for each question, with other demonstrations each
    #[arg(long, value_name = "N", default_value_t = 1)]
    draws: usize,
    /// Seed of splits, demonstrations and random orders
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Shares of the examples for training (demonstrations and means) and for validation (choices); the rest are for the
    /// results
    #[arg(long, value_name = "T,V", value_delimiter = ',', num_args = 1, default_values_t = [0.5, 0.2])]
    split: Vec<f64>,
    /// Leave out the beginning-of-text token
    #[arg(long)]
    no_bos: bool,
    /// Before an input
    #[arg(long, value_name = "TEXT", default_value = "Q:")]
    input_prefix: String,
    /// Before an output; the prompt ends with it
    #[arg(long, value_name = "TEXT", default_value = "A:")]
    output_prefix: String,
    /// Between an input and its output's prefix; \n is a line break
    #[arg(long, value_name = "TEXT", default_value = "\\n")]
    input_separator: String,
    /// Between an output and the next input's prefix
    #[arg(long, value_name = "TEXT", default_value = "\\n\\n")]
    output_separator: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SpanName {
    Prompt,
    Answer,
}

/// A task on a model, ready for prompts.
pub(crate) struct TaskRun {
    pub(crate) files: ModelFiles,
    pub(crate) task: Task,
    pub(crate) splits: Splits,
    pub(crate) span: MapSpan,
    options: PromptOptions,
    shares: SplitShares,
}

impl TaskPromptArgs {
    /// Reads the task, a file or the name of one of the model's, and cuts it into its parts.
    pub(crate) fn open(&self, task: &str, model: &ModelArgs) -> Result<TaskRun, CliError> {
        if model.device.is_reference() {
            return Err(CliError::Failed(
                "--adapter reference: serves single traces; tasks need a device ('retrograd doctor' lists them)"
                    .to_owned(),
            ));
        }
        let files = ModelFiles::open(model)?;
        let tokenizer = require_tokenizer(&files, "task", "tasks are texts")?;
        let task = Task::read(&find(task, &files.dir)?, tokenizer)?;
        let span = match self.span {
            SpanName::Prompt => MapSpan::Prompt,
            SpanName::Answer => MapSpan::Answer,
        };
        if span == MapSpan::Prompt && !self.first_token {
            task.require_single_tokens()?;
        }
        let [train, validation] = self.split[..] else {
            return Err(CliError::Usage("--split: give two shares, as in 0.5,0.2".to_owned()));
        };
        let shares = SplitShares { train, validation };
        let splits = Splits::new(task.examples.len(), shares, self.seed)?;
        if self.draws == 0 {
            return Err(RequestError::invalid("--draws", "0 prompts for each question leave none").into());
        }
        let text = |text: &str| text.replace("\\n", "\n").replace("\\t", "\t");
        let template = Template {
            input_prefix: text(&self.input_prefix),
            input_separator: text(&self.input_separator),
            output_prefix: text(&self.output_prefix),
            output_separator: text(&self.output_separator),
        };
        let options =
            PromptOptions { template, bos: !self.no_bos, shots: 0, draws: self.draws, seed: self.seed };
        Ok(TaskRun { files, task, splits, span, options, shares })
    }
}

/// The file itself, or `tasks/NAME.json` beside the model.
fn find(task: &str, model: &Path) -> Result<PathBuf, CliError> {
    let path = PathBuf::from(task);
    if path.is_file() {
        return Ok(path);
    }
    let shipped = model.join("tasks").join(format!("{task}.json"));
    if !task.contains(['/', '\\']) && shipped.is_file() {
        return Ok(shipped);
    }
    let mut names: Vec<String> = std::fs::read_dir(model.join("tasks"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let known = match names.is_empty() {
        true => String::new(),
        false => format!("; the model's own tasks are {}", names.join(", ")),
    };
    Err(CliError::Failed(format!("task '{task}': there is no such file{known}")))
}

/// A part of a task's examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Validation,
    Test,
}

impl TaskRun {
    pub(crate) fn options(&self, shots: usize) -> PromptOptions {
        PromptOptions { shots, ..self.options.clone() }
    }

    fn queries(&self, part: Part) -> &[usize] {
        match part {
            Part::Train => &self.splits.train,
            Part::Validation => &self.splits.validation,
            Part::Test => &self.splits.test,
        }
    }

    /// The prompts of a part.
    pub(crate) fn prompts(&self, part: Part, shots: usize) -> Result<Vec<TaskPrompt>, CliError> {
        let tokenizer = require_tokenizer(&self.files, "task", "tasks are texts")?;
        let (queries, options) = (self.queries(part), self.options(shots));
        Ok(prompts(&self.task, &self.splits, queries, &options, (&self.files.config, tokenizer))?)
    }

    /// Prompts of the training part whose demonstrations show another task.
    pub(crate) fn shuffled(&self, shots: usize) -> Result<Vec<TaskPrompt>, CliError> {
        let tokenizer = require_tokenizer(&self.files, "task", "tasks are texts")?;
        let options = self.options(shots);
        let model = (&self.files.config, tokenizer);
        Ok(retrograd::lens::shuffled_prompts(&self.task, &self.splits, &self.splits.train, &options, model)?)
    }

    /// What a result depends on, for documents and for going on with an earlier run.
    pub(crate) fn describe(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.task.name,
            "examples": self.task.examples.len(),
            "span": self.span,
            "split": self.shares,
            "train": self.splits.train.len(),
            "validation": self.splits.validation.len(),
            "test": self.splits.test.len(),
            "draws": self.options.draws,
            "seed": self.options.seed,
            "bos": self.options.bos,
            "template": self.options.template,
        })
    }

    /// Loads the model.
    pub(crate) fn load(&self, model: &ModelArgs) -> Result<Gpt2, CliError> {
        match Engine::open(model, &self.files)? {
            Engine::Device(model) => Ok(model),
            Engine::Reference(_) => Err(CliError::Failed("--adapter: tasks need a device".to_owned())),
        }
    }
}
