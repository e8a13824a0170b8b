//! `retrograd perturb`

use crate::args::{ModelArgs, TaskPromptArgs};
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::report::{self, Page};
use crate::study::{self, PerturbChoices};
use clap::Args;
use retrograd::lens::OrderBy;
use retrograd::{RequestError, lens};
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Args)]
#[command(
    after_help = "Example: retrograd perturb country-capital --shots 5 --orderings reversed,mediation,pattern,random --svg curves.svg"
)]
pub(crate) struct PerturbCommand {
    /// A JSON list of {"input", "output"}, or the name of one of the model's tasks
    #[arg(value_name = "TASK")]
    task: String,
    /// Demonstrations in the prompts
    #[arg(long, value_name = "N", default_value_t = 5)]
    shots: usize,
    #[command(flatten)]
    choices: PerturbArgs,
    #[command(flatten)]
    prompts: TaskPromptArgs,
    /// Write the curves as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw them as SVG
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

/// Which orderings, and how finely they are cut.
#[derive(Args)]
pub(crate) struct PerturbArgs {
    /// What heads are ordered by: reversed (‖R‖), pattern (‖A‖), mediation, attribution, random, index
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "reversed,mediation,attribution,pattern,index,random"
    )]
    orderings: Vec<String>,
    /// Draws of the random ordering
    #[arg(long, value_name = "N", default_value_t = 10)]
    random_draws: usize,
    /// Shares of the heads that are kept, in percent
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "0,10,20,30,40,50,60,70,80,90,100"
    )]
    keep: Vec<f64>,
}

impl PerturbArgs {
    pub(crate) fn choices(&self) -> Result<PerturbChoices, CliError> {
        let orderings = self
            .orderings
            .iter()
            .map(|name| OrderBy::from_str(name.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(percent) = self.keep.iter().find(|percent| !(0.0..=100.0).contains(*percent)) {
            return Err(RequestError::invalid(
                "--keep",
                format!("{percent} is not a share from 0 to 100 percent"),
            )
            .into());
        }
        let mut fractions: Vec<f64> = self.keep.iter().map(|percent| percent / 100.0).collect();
        fractions.sort_by(f64::total_cmp);
        fractions.dedup();
        Ok(PerturbChoices { orderings, random_draws: self.random_draws, fractions })
    }
}

impl PerturbCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let files = study::Outputs { csv: self.csv, svg: self.svg, png: self.png };
        files.check()?;
        let choices = self.choices.choices()?;
        let run = self.prompts.open(&self.task, &self.model)?;
        // Everything that is wrong with the prompts is said before the model is loaded.
        let test = run.prompts(crate::args::Part::Test, self.shots)?;
        let model = run.load(&self.model)?;
        let sizes = study::sizes(&run, &model, self.shots)?;
        let mediation = match choices.orderings.contains(&OrderBy::Mediation) {
            true => Some(study::mediation(&run, &model, self.shots)?),
            false => None,
        };
        let curves = study::perturb(&run, &model, &choices, &sizes.heads, mediation.as_ref(), &test)?;
        let mut task = run.describe();
        task["shots"] = self.shots.into();
        let document = lens::PerturbReport {
            schema: "retrograd-perturb/1",
            model: run.files.dir.display().to_string(),
            tokens: lens::token_texts(&test[0].ids, run.files.tokenizer.as_ref()),
            task,
            prompts: test.len(),
            curves,
        };
        files.write(
            || report::perturb_csv(&document.curves),
            || retrograd_figures::perturb_figure(&run.task.name, &document.curves),
        )?;
        if self.json {
            return print_json(&document);
        }
        let mut page = Page::new();
        report::perturb(&mut page, &run.task.name, &document.curves, document.prompts);
        files.say(&mut page);
        print_styled(&page.finish())
    }
}
