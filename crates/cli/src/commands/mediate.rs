//! `retrograd mediate`

use crate::args::{ModelArgs, ObjectiveArgs, Part, PromptArgs, TaskPromptArgs};
use crate::engine::{Engine, ModelFiles};
use crate::error::CliError;
use crate::output::{check_writable, print_json, print_styled};
use crate::progress::Counted;
use crate::report::{self, Page};
use clap::{Args, ValueEnum};
use retrograd::formats::write_atomic;
use retrograd::lens::{Mediation, MediationReport, mediate, mediate_by_means, token_texts};
use retrograd::{Objective, TokenId, TraceRequest};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  retrograd mediate 'The capital of France is' --target ' Paris'
  retrograd mediate --task country-capital --shots 5
  retrograd mediate --task country-capital --shots 5 --ablation mean";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MediateCommand {
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    objective: ObjectiveArgs,
    /// A task instead of a prompt: a JSON list of {"input", "output"}, or the name of one of the model's tasks. Effects are
    /// means over its training part
    #[arg(long, value_name = "TASK", conflicts_with_all = ["prompt", "ids", "target", "target_id", "completion", "next_token", "minus", "minus_id"])]
    task: Option<String>,
    /// Demonstrations in a task's prompts
    #[arg(long, value_name = "N", default_value_t = 5)]
    shots: usize,
    /// zero: each head silenced at every position. mean: in prompts whose demonstrations have changed answers, each head
    /// at the last position replaced by its mean over right prompts
    #[arg(long, value_enum, default_value = "zero")]
    ablation: AblationName,
    #[command(flatten)]
    prompts: TaskPromptArgs,
    /// Only the strongest heads [default: all in JSON, 20 in text]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Write the effects as comma-separated values: heads down, layers across
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AblationName {
    Zero,
    Mean,
}

/// Rows of the table where nobody says how many.
const ROWS: usize = 20;

impl MediateCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if let Some(path) = &self.csv {
            check_writable(path)?;
        }
        let report = match &self.task {
            Some(task) => self.on_task(task)?,
            None => self.on_prompt()?,
        };
        if let Some(path) = &self.csv {
            write_atomic(path, report::effects_csv(&report.mediation).as_bytes())?;
        }
        if self.json {
            let mut report = report;
            report.mediation.heads.truncate(self.top.unwrap_or(usize::MAX));
            return print_json(&report);
        }
        let mut page = Page::new();
        report::mediation(&mut page, &report, self.top.unwrap_or(ROWS));
        print_styled(&page.finish())
    }

    fn on_prompt(&self) -> Result<MediationReport, CliError> {
        if self.ablation == AblationName::Mean {
            return Err(CliError::Usage(
                "--ablation mean: a mean needs several prompts: give --task with --shots 2 or more"
                    .to_owned(),
            ));
        }
        let files = ModelFiles::open(&self.model)?;
        let mut ids = self.prompt.tokens(&files)?;
        let objective = self.objective.objective(&mut ids, &files)?;
        let Objective::Target(target) = objective else {
            return Err(CliError::Usage(
                "an effect is on the probability of one token: give --target".to_owned(),
            ));
        };
        TraceRequest::new(ids.clone(), objective).resolve(&files.config)?;
        let Engine::Device(model) = Engine::open(&self.model, &files)? else {
            return Err(CliError::Failed(
                "--adapter reference: serves traces; mediation needs a device ('retrograd doctor' lists them)"
                    .to_owned(),
            ));
        };
        let mediation = mediate(&model, &[(ids.clone(), target)], &mut |_| ())?;
        Ok(MediationReport {
            schema: "retrograd-mediate/1",
            model: files.dir.display().to_string(),
            tokens: token_texts(&ids, files.tokenizer.as_ref()),
            target: token_texts(&[target], files.tokenizer.as_ref()).pop(),
            task: None,
            prompts: 1,
            mediation: sorted(mediation),
        })
    }

    fn on_task(&self, task: &str) -> Result<MediationReport, CliError> {
        let run = self.prompts.open(task, &self.model)?;
        let prompts = run.prompts(Part::Train, self.shots)?;
        let corrupted = match self.ablation {
            AblationName::Mean => run.shuffled(self.shots)?,
            AblationName::Zero => Vec::new(),
        };
        let model = run.load(&self.model)?;
        let mut progress = Counted::new("prompts", prompts.len());
        let mediation = match self.ablation {
            AblationName::Zero => {
                let given: Vec<(Vec<TokenId>, TokenId)> =
                    prompts.iter().map(|prompt| (prompt.ids.clone(), prompt.target())).collect();
                mediate(&model, &given, &mut |done| progress.at(done))?
            }
            AblationName::Mean => {
                mediate_by_means(&model, &prompts, &corrupted, &mut |done| progress.at(done))?
            }
        };
        let mut task = run.describe();
        task["shots"] = self.shots.into();
        Ok(MediationReport {
            schema: "retrograd-mediate/1",
            model: run.files.dir.display().to_string(),
            tokens: Vec::new(),
            target: None,
            task: Some(task),
            prompts: prompts.len(),
            mediation: sorted(mediation),
        })
    }
}

/// The head that matters most for the target first.
fn sorted(mut mediation: Mediation) -> Mediation {
    let importance = |mediation: &Mediation, at: usize| mediation.importance(&mediation.heads[at]);
    let mut order: Vec<usize> = (0..mediation.heads.len()).collect();
    order.sort_by(|a, b| importance(&mediation, *b).total_cmp(&importance(&mediation, *a)));
    mediation.heads = order.into_iter().map(|at| mediation.heads[at]).collect();
    mediation
}
