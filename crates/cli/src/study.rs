//! The steps that `perturb`, `patch` and `report` share, and the files that they and others write.

use crate::args::{ModelArgs, Part, TaskRun};
use crate::error::CliError;
use crate::output::check_writable;
use crate::progress::Counted;
use crate::report::Page;
use retrograd::formats::{Ledger, write_atomic};
use retrograd::lens::{
    Accuracy, HeadStatistics, MapSpan, Mediation, NamedOrder, OrderBy, PatchPoint, PerturbCurves, Statistic,
    TaskMaps, TaskPrompt, aligned, all_heads, mediate, order_by_chance, order_by_effect, order_by_size,
    patch_accuracy, perturb_orderings, task_maps, task_sizes,
};
use retrograd::{Gpt2, Head, PatchMap, RequestError, TokenId};
use retrograd_figures::Drawing;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Pixels of a PNG to each of the figure's own: sharp in print and on dense screens.
pub(crate) const PNG_SCALE: f64 = 2.0;

/// Files that a command can write beside its page.
pub(crate) struct Outputs {
    pub(crate) csv: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) png: Option<PathBuf>,
}

impl Outputs {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.csv, &self.svg, &self.png].into_iter().flatten()
    }

    /// Before anything is computed.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        Ok(self.paths().try_for_each(|path| check_writable(path))?)
    }

    /// Makes all of them, then writes them: nothing is written where one of them cannot be made.
    pub(crate) fn write(
        &self,
        csv: impl FnOnce() -> String,
        figure: impl FnOnce() -> Drawing,
    ) -> Result<(), CliError> {
        let figure = (self.svg.is_some() || self.png.is_some()).then(figure);
        let mut made: Vec<(&PathBuf, Vec<u8>)> = Vec::new();
        if let Some(path) = &self.csv {
            made.push((path, csv().into_bytes()));
        }
        if let (Some(path), Some(figure)) = (&self.svg, &figure) {
            made.push((path, figure.to_svg().into_bytes()));
        }
        if let (Some(path), Some(figure)) = (&self.png, &figure) {
            let png = figure.to_png(PNG_SCALE).map_err(|error| CliError::Failed(error.to_string()))?;
            made.push((path, png));
        }
        for (path, bytes) in made {
            write_atomic(path, &bytes)?;
        }
        Ok(())
    }

    pub(crate) fn say(&self, page: &mut Page) {
        for path in self.paths() {
            page.line(format_args!("wrote {}", path.display()));
        }
    }
}

/// The sizes of all heads over the training part.
pub(crate) fn sizes(run: &TaskRun, model: &Gpt2, shots: usize) -> Result<TaskMaps, CliError> {
    let prompts = run.prompts(Part::Train, shots)?;
    let mut progress = Counted::new("prompts traced", prompts.len());
    Ok(task_sizes(model, &prompts, run.span, &mut |done| progress.at(done))?)
}

/// The effect of silencing each head, over the training part.
pub(crate) fn mediation(run: &TaskRun, model: &Gpt2, shots: usize) -> Result<Mediation, CliError> {
    let prompts: Vec<(Vec<TokenId>, TokenId)> = run
        .prompts(Part::Train, shots)?
        .into_iter()
        .map(|prompt| (prompt.ids.clone(), prompt.target()))
        .collect();
    let mut progress = Counted::new("prompts mediated", prompts.len());
    Ok(mediate(model, &prompts, &mut |done| progress.at(done))?)
}

/// What `perturb` is asked for.
pub(crate) struct PerturbChoices {
    pub(crate) orderings: Vec<OrderBy>,
    pub(crate) random_draws: usize,
    pub(crate) fractions: Vec<f64>,
}

/// The curves of the orderings on these prompts.
pub(crate) fn perturb(
    run: &TaskRun,
    model: &Gpt2,
    choices: &PerturbChoices,
    heads: &[HeadStatistics],
    mediation: Option<&Mediation>,
    prompts: &[TaskPrompt],
) -> Result<PerturbCurves, CliError> {
    let seed = run.options(0).seed;
    let mut orders = Vec::new();
    for by in &choices.orderings {
        let named = |heads: Vec<Head>| NamedOrder { by: *by, heads };
        match by {
            OrderBy::Index => orders.push(named(all_heads(model.config()))),
            OrderBy::Random => orders.extend(
                (0..choices.random_draws).map(|draw| named(order_by_chance(model.config(), seed, draw))),
            ),
            OrderBy::Mediation => orders.extend(mediation.map(|mediation| named(order_by_effect(mediation)))),
            _ => orders.extend(order_by_size(heads, *by).map(named)),
        }
    }
    let runs = orders.iter().map(|order| if order.by == OrderBy::Random { 1 } else { 2 }).sum::<usize>();
    let mut progress = Counted::new("forward passes", runs * choices.fractions.len() * prompts.len());
    Ok(perturb_orderings(model, prompts, &orders, &choices.fractions, &mut |done| progress.at(done))?)
}

/// What `patch` is asked for.
pub(crate) struct PatchChoices {
    pub(crate) shots: Vec<usize>,
    pub(crate) alphas: Vec<f32>,
    pub(crate) maps: Vec<PatchMap>,
    pub(crate) heads: Option<BTreeSet<Head>>,
}

impl PatchChoices {
    /// Says everything that is wrong before a model is loaded.
    pub(crate) fn check(&self, run: &TaskRun) -> Result<(), CliError> {
        if self.shots.is_empty() || self.maps.is_empty() {
            return Err(CliError::Usage("nothing to sweep: give --shots and --maps".to_owned()));
        }
        let config = &run.files.config;
        for head in self.heads.iter().flatten() {
            if head.layer >= config.n_layer || head.head >= config.n_head {
                let reason = format!(
                    "the model has layers 0 to {} and heads 0 to {}",
                    config.n_layer - 1,
                    config.n_head - 1
                );
                return Err(
                    RequestError::invalid(format!("--heads {}.{}", head.layer, head.head), reason).into()
                );
            }
        }
        for shots in &self.shots {
            for part in [Part::Train, Part::Validation, Part::Test] {
                run.prompts(part, *shots)?;
            }
        }
        Ok(())
    }
}

/// What a sweep's results depend on.
pub(crate) fn patch_options(run: &TaskRun, choices: &PatchChoices, model: &ModelArgs) -> serde_json::Value {
    let heads: Option<Vec<String>> =
        choices.heads.as_ref().map(|heads| heads.iter().map(Head::to_string).collect());
    serde_json::json!({
        "command": "patch",
        "model": run.files.dir,
        "precision": format!("{:?}", model.precision).to_lowercase(),
        "task": run.describe(),
        "shots": choices.shots,
        "alphas": choices.alphas,
        "maps": choices.maps.iter().map(|map| map.name()).collect::<Vec<_>>(),
        "heads": heads,
    })
}

/// Accuracies of one kind of map over all factors.
#[derive(Serialize, Deserialize)]
struct SweepRow {
    validation: Vec<Accuracy>,
    test: Vec<Accuracy>,
    prompts: [usize; 2],
}

/// Sweeps shots, maps and factors; what the ledger has is not computed again. Returns the points and the prompts of
/// the validation and test part.
pub(crate) fn patch(
    run: &TaskRun,
    model: &Gpt2,
    choices: &PatchChoices,
    ledger: &mut Option<Ledger>,
) -> Result<(Vec<PatchPoint>, [usize; 2]), CliError> {
    let mut sweep = Vec::new();
    let mut prompts = [0, 0];
    for &shots in &choices.shots {
        // Made when they are first needed: a sweep that goes on may need none.
        let mut means: Option<TaskMaps> = None;
        for &map in &choices.maps {
            let name = format!("{shots} shots, {}", map.name());
            let mut compute = || -> Result<SweepRow, CliError> {
                let maps = match &mut means {
                    Some(maps) => maps,
                    empty => {
                        let training = run.prompts(Part::Train, shots)?;
                        let mut progress =
                            Counted::new(&format!("{shots} shots: prompts traced"), training.len());
                        empty.insert(task_maps(model, &training, run.span, &mut |done| progress.at(done))?)
                    }
                };
                let accuracies = |part| -> Result<(Vec<Accuracy>, usize), CliError> {
                    let (kept, left_out) = aligned(maps, run.prompts(part, shots)?);
                    if kept.is_empty() {
                        return Err(RequestError::invalid(
                            "patch",
                            format!(
                                "none of the {left_out} prompts has its words at the positions of a training prompt: \
                                 there is no mean map that could be added"
                            ),
                        )
                        .into());
                    }
                    let label = format!("{name}: forward passes");
                    let mut progress = Counted::new(&label, kept.len() * choices.alphas.len());
                    let found = patch_accuracy(
                        model,
                        maps,
                        map,
                        choices.heads.as_ref(),
                        &kept,
                        &choices.alphas,
                        &mut |done| progress.at(done),
                    )?;
                    Ok((found, kept.len()))
                };
                let ((validation, validated), (test, tested)) =
                    (accuracies(Part::Validation)?, accuracies(Part::Test)?);
                Ok(SweepRow { validation, test, prompts: [validated, tested] })
            };
            let row = match ledger {
                Some(ledger) => ledger.entry(&name, compute)?,
                None => compute()?,
            };
            prompts = row.prompts;
            let points = choices.alphas.iter().zip(row.validation.iter().zip(&row.test));
            sweep.extend(points.map(|(&alpha, (&validation, &accuracy))| PatchPoint {
                shots,
                map,
                alpha,
                validation,
                accuracy,
            }));
        }
    }
    Ok((sweep, prompts))
}

/// The sizes of a task's heads, as a ledger keeps them.
#[derive(Serialize, Deserialize)]
pub(crate) struct RankedHeads {
    pub(crate) prompts: usize,
    pub(crate) loss: Statistic,
    pub(crate) statistics: Vec<HeadStatistics>,
}

impl RankedHeads {
    /// As a task's sizes, whose maps are not kept.
    pub(crate) fn without_maps(&self, span: MapSpan) -> TaskMaps {
        TaskMaps {
            span,
            prompts: self.prompts,
            loss: self.loss,
            heads: self.statistics.clone(),
            layouts: Vec::new(),
        }
    }
}
