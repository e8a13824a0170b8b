//! `retrograd report`

use super::patch::PatchArgs;
use super::perturb::PerturbArgs;
use crate::args::{ModelArgs, Part, TaskPromptArgs, TaskRun};
use crate::error::CliError;
use crate::output::{check_directory, print_json, print_styled};
use crate::progress::Counted;
use crate::report::{self, Page};
use crate::study::{self, PNG_SCALE, PatchChoices, PerturbChoices};
use clap::Args;
use retrograd::formats::{DirectoryLock, FormatError, Ledger, write_atomic};
use retrograd::lens::{
    MapMoment, MeanTrace, Mediation, PatchPoint, PerturbCurves, TaskFindings, TokenText, best_patches,
    overview, task_attention, task_maps, token_texts,
};
use retrograd::{Gpt2, TraceRead as _};
use retrograd_figures::{Drawing, attention_figure, patch_figure, perturb_figure};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(
    after_help = "Example: retrograd report country-capital verb-past adjective-antonym --shots-ranked 5 --out findings"
)]
pub(crate) struct ReportCommand {
    /// Task files, or names of the model's tasks
    #[arg(value_name = "TASK", required = true, num_args = 1..)]
    tasks: Vec<String>,
    /// Directory for figures, tables and texts; what an earlier run with the same options has finished is kept
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Demonstrations in the prompts of ranking and perturbation
    #[arg(long, value_name = "N", default_value_t = 5)]
    shots_ranked: usize,
    #[command(flatten)]
    perturb: PerturbArgs,
    #[command(flatten)]
    patch: PatchArgs,
    #[command(flatten)]
    prompts: TaskPromptArgs,
    /// Print the findings as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// Heads whose maps are drawn.
const DRAWN: usize = 3;

impl ReportCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        check_directory(&self.out)?;
        let (perturb, patch) = (self.perturb.choices()?, self.patch.choices()?);
        let mut runs = Vec::new();
        for task in &self.tasks {
            let run = self.prompts.open(task, &self.model)?;
            patch.check(&run)?;
            run.prompts(Part::Test, self.shots_ranked)?;
            runs.push(run);
        }
        let model = runs[0].load(&self.model)?;
        let mut findings = Vec::new();
        for run in &runs {
            findings.push(self.task(run, &model, &perturb, &patch)?);
        }
        let name = runs[0].files.dir.display().to_string();
        write_atomic(&self.out.join("README.md"), overview(&name, &findings).as_bytes())?;
        write_atomic(
            &self.out.join("manifest.json"),
            self.manifest(&runs, &model, &perturb, &patch).as_bytes(),
        )?;
        if self.json {
            return print_json(
                &json!({"schema": "retrograd-report/1", "model": name, "tokens": [], "tasks": findings}),
            );
        }
        let mut page = Page::new();
        report::findings(&mut page, &findings);
        page.line(format_args!("wrote {}", self.out.join("README.md").display()));
        print_styled(&page.finish())
    }

    /// All of a task: what its ledger has is not computed again.
    fn task(
        &self,
        run: &TaskRun,
        model: &Gpt2,
        perturb: &PerturbChoices,
        patch: &PatchChoices,
    ) -> Result<TaskFindings, CliError> {
        let dir = self.out.join(&run.task.name);
        std::fs::create_dir_all(&dir).map_err(|error| FormatError::io(&dir, error))?;
        let _turn = DirectoryLock::acquire(&dir, "report")?;
        let options = self.options(run, perturb, patch);
        let mut ledger = Ledger::open(&dir.join("progress.json"), options)?;
        let shots = self.shots_ranked;
        let training = run.prompts(Part::Train, shots)?;

        let heads = ledger.entry("heads", || self.maps(run, model, &training, &dir))?;
        let mediation: Mediation = ledger.entry("mediation", || study::mediation(run, model, shots))?;
        let test = run.prompts(Part::Test, shots)?;
        let curves: PerturbCurves = ledger.entry("perturb", || {
            study::perturb(run, model, perturb, &heads.statistics, Some(&mediation), &test)
        })?;
        let mut kept = Some(ledger);
        let (sweep, [validation, tested]) = study::patch(run, model, patch, &mut kept)?;
        write_results(&dir, &run.task.name, &mediation, &curves, &sweep)?;
        let findings = TaskFindings::new(
            &task_attention(
                &run.files.dir.display().to_string(),
                run.describe(),
                &heads.without_maps(run.span),
            ),
            &run.task.name,
            (shots, [training.len(), validation, tested]),
            &mediation,
            curves,
            best_patches(&sweep),
        );
        write_atomic(&dir.join("report.md"), findings.markdown().as_bytes())?;
        Ok(findings)
    }

    /// Ranks the heads; draws and writes their norms and the mean maps of the strongest.
    fn maps(
        &self,
        run: &TaskRun,
        model: &Gpt2,
        training: &[retrograd::lens::TaskPrompt],
        dir: &Path,
    ) -> Result<study::RankedHeads, CliError> {
        let label = format!("{}: prompts traced", run.task.name);
        let mut progress = Counted::new(&label, training.len());
        let maps = task_maps(model, training, run.span, &mut |done| progress.at(done))?;
        drop(progress);
        let name = run.files.dir.display().to_string();
        let document = task_attention(&name, run.describe(), &maps);
        let mean = MeanTrace::new(model, &maps, training, MapMoment::Mean)?;
        let tokens: Vec<String> = token_texts(&mean.meta().ids, run.files.tokenizer.as_ref())
            .iter()
            .map(TokenText::label)
            .collect();
        let drawn = super::attention::drawn_means(&mean, &document, DRAWN)?;
        let sizes = super::attention::task_sizes(&document);
        let what =
            format!("{}, {} shots, mean of {} prompts", run.task.name, self.shots_ranked, training.len());
        write_figure(dir, "heads", &attention_figure(&what, &sizes, &tokens, &drawn))?;
        write_atomic(&dir.join("heads.csv"), report::attention_csv(sizes).as_bytes())?;
        Ok(study::RankedHeads { prompts: maps.prompts, loss: maps.loss, statistics: maps.heads })
    }

    /// What the results of a task depend on.
    fn options(&self, run: &TaskRun, perturb: &PerturbChoices, patch: &PatchChoices) -> serde_json::Value {
        let mut options = study::patch_options(run, patch, &self.model);
        options["command"] = "report".into();
        options["shots_ranked"] = self.shots_ranked.into();
        options["orderings"] = json!(perturb.orderings);
        options["random_draws"] = perturb.random_draws.into();
        options["kept_fractions"] = json!(perturb.fractions);
        options
    }

    /// Everything that is needed to run it again.
    fn manifest(
        &self,
        runs: &[TaskRun],
        model: &Gpt2,
        perturb: &PerturbChoices,
        patch: &PatchChoices,
    ) -> String {
        let adapter = model.gpu().adapter();
        let tasks: Vec<_> = runs.iter().map(|run| self.options(run, perturb, patch)).collect();
        let document = json!({
            "schema": "retrograd-manifest/1",
            "retrograd": env!("CARGO_PKG_VERSION"),
            "command": std::env::args().skip(1).collect::<Vec<_>>(),
            "adapter": adapter.name,
            "driver": format!("{} {}", adapter.driver, adapter.driver_info).trim(),
            "config": model.config().to_hf_json(),
            "tasks": tasks,
        });
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }
}

fn write_results(
    dir: &Path,
    task: &str,
    mediation: &Mediation,
    curves: &PerturbCurves,
    sweep: &[PatchPoint],
) -> Result<(), CliError> {
    write_atomic(&dir.join("mediation.csv"), report::effects_csv(mediation).as_bytes())?;
    write_atomic(&dir.join("perturb.csv"), report::perturb_csv(curves).as_bytes())?;
    write_atomic(&dir.join("patch.csv"), report::patch_csv(sweep).as_bytes())?;
    write_figure(dir, "perturb", &perturb_figure(task, curves))?;
    write_figure(dir, "patch", &patch_figure(task, sweep))
}

/// As SVG and PNG.
fn write_figure(dir: &Path, name: &str, figure: &Drawing) -> Result<(), CliError> {
    let png = figure.to_png(PNG_SCALE).map_err(|error| CliError::Failed(error.to_string()))?;
    write_atomic(&dir.join(format!("{name}.svg")), figure.to_svg().as_bytes())?;
    Ok(write_atomic(&dir.join(format!("{name}.png")), &png)?)
}
