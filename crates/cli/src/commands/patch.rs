//! `retrograd patch`

use crate::args::{ModelArgs, TaskPromptArgs};
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::report::{self, Page};
use crate::study::{self, PatchChoices};
use clap::{Args, ValueEnum};
use retrograd::formats::{Ledger, parse_heads};
use retrograd::lens::{DEFAULT_ALPHAS, PatchReport, best_patches, token_texts};
use retrograd::{PatchMap, RequestError};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  retrograd patch country-capital --svg sweep.svg
  retrograd patch country-capital --shots 0,1 --alphas=-1,-5,-20 --heads 2.1,3.0 --resume sweep.json";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PatchCommand {
    /// A JSON list of {"input", "output"}, or the name of one of the model's tasks
    #[arg(value_name = "TASK")]
    task: String,
    #[command(flatten)]
    choices: PatchArgs,
    #[command(flatten)]
    prompts: TaskPromptArgs,
    /// Keep what is done in this file, and go on with what it has
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Write the sweep as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw it as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The same as PNG
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// What is swept.
#[derive(Args)]
pub(crate) struct PatchArgs {
    /// Numbers of demonstrations
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,1,5,10")]
    shots: Vec<usize>,
    /// Factors of the mean maps; a negative one descends the loss [default: 3 to -120]
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true)]
    alphas: Vec<f32>,
    /// Which mean maps: reversed, forward (the control), or both
    #[arg(long, value_enum, value_delimiter = ',', default_value = "reversed,forward")]
    maps: Vec<MapName>,
    /// Only these heads, as in 2.1,3.0
    #[arg(long, value_name = "HEADS")]
    heads: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MapName {
    Reversed,
    Forward,
}

impl PatchArgs {
    pub(crate) fn choices(&self) -> Result<PatchChoices, CliError> {
        let mut alphas = match self.alphas.is_empty() {
            true => DEFAULT_ALPHAS.to_vec(),
            false => self.alphas.clone(),
        };
        if let Some(alpha) = alphas.iter().find(|alpha| !alpha.is_finite()) {
            return Err(RequestError::invalid("--alphas", format!("{alpha} is not a finite number")).into());
        }
        // Without it there is nothing to compare with.
        alphas.push(0.0);
        alphas.sort_by(|a, b| b.total_cmp(a));
        alphas.dedup_by(|a, b| a == b);
        let heads = match &self.heads {
            Some(heads) => Some(parse_heads(heads)?.into_iter().collect()),
            None => None,
        };
        let map = |map: &MapName| match map {
            MapName::Reversed => PatchMap::Reversed,
            MapName::Forward => PatchMap::Forward,
        };
        let mut shots = self.shots.clone();
        shots.sort_unstable();
        shots.dedup();
        Ok(PatchChoices { shots, alphas, maps: self.maps.iter().map(map).collect(), heads })
    }
}

impl PatchCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let files = study::Outputs { csv: self.csv, svg: self.svg, png: self.png };
        files.check()?;
        let choices = self.choices.choices()?;
        let run = self.prompts.open(&self.task, &self.model)?;
        choices.check(&run)?;
        let mut ledger = match &self.resume {
            Some(path) => Some(Ledger::open(path, study::patch_options(&run, &choices, &self.model))?),
            None => None,
        };
        let model = run.load(&self.model)?;
        let (sweep, prompts) = study::patch(&run, &model, &choices, &mut ledger)?;
        let test = run.prompts(crate::args::Part::Test, choices.shots[0])?;
        let document = PatchReport {
            schema: "retrograd-patch/1",
            model: run.files.dir.display().to_string(),
            tokens: token_texts(&test[0].ids, run.files.tokenizer.as_ref()),
            task: run.describe(),
            prompts,
            best: best_patches(&sweep),
            sweep,
        };
        files.write(
            || report::patch_csv(&document.sweep),
            || retrograd_figures::patch_figure(&run.task.name, &document.sweep),
        )?;
        if self.json {
            return print_json(&document);
        }
        let mut page = Page::new();
        report::patch(&mut page, &run.task.name, &document);
        files.say(&mut page);
        print_styled(&page.finish())
    }
}
