//! Methods of editing on a whole CounterFact file.

use super::EditCommand;
use crate::engine::ModelFiles;
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::progress::Spinner;
use crate::report::{self, Page};
use retrograd::formats::read_counterfact;
use retrograd::lens::edit::{
    Case, EditPlan, EvaluationReport, EvaluationRow, Measures, Scores, best, compare, contenders, evaluate,
    sweep_cases,
};
use retrograd::{FormatError, Gpt2, RequestError};
use std::ops::ControlFlow;
use std::path::Path;

/// Every so many records, one on which layers and step sizes are chosen; the others are measured.
const CHOOSE_EVERY: usize = 5;

/// Generation prompts of a record that are used.
const GENERATIONS: usize = 1;

impl EditCommand {
    pub(super) fn on_file(&self, file: &Path) -> Result<(), CliError> {
        let files = ModelFiles::open(&self.model)?;
        let cases = self.cases(&files, file)?;
        let measures = self.measures(&files)?;
        let comparing = self.evaluation.compare.is_some();
        let plans = match comparing {
            true => Vec::new(),
            false => self.plan.plans(&files.config, false, self.sweep)?,
        };
        let model = self.load(&files)?;
        let spinner = Spinner::new("asking the model as it is".to_owned());
        let (choose_on, measured) = divide(&cases, comparing || (plans.len() > 1 && !self.sweep));
        let rows = if comparing {
            let contenders = contenders(files.config.n_layer);
            let progress = |what: &str, done: usize, all: usize| {
                spinner.say(format!("{what}: {done} of {all}"));
                ControlFlow::Continue(())
            };
            compare(&model, (&choose_on, &measured), &contenders, &measures, progress)?.unwrap_or_default()
        } else if self.sweep {
            swept(&model, &cases, &plans, &spinner)?
        } else {
            evaluated(&model, (&choose_on, &measured), plans, &measures, &spinner)?
        };
        drop(spinner);
        let report = EvaluationReport {
            schema: "retrograd-edit-evaluation/1",
            model: model.name().to_owned(),
            file: file.display().to_string(),
            chosen_on: choose_on.len(),
            rows,
        };
        if self.json {
            return print_json(&report);
        }
        let mut page = Page::new();
        report::evaluation(&mut page, &report);
        print_styled(&page.finish())
    }

    fn cases(&self, files: &ModelFiles, file: &Path) -> Result<Vec<Case>, CliError> {
        let mut records = read_counterfact(file)?;
        records.truncate(self.evaluation.limit.unwrap_or(usize::MAX));
        let tokenizer = crate::args::require_tokenizer(files, "--evaluate", "its prompts are text")?;
        let longest = files.config.n_positions;
        let case = |record: &retrograd::formats::CounterFact| {
            let case = Case::new(record, tokenizer)?;
            match case.longest() {
                length if length > longest => Err(RequestError::invalid(
                    format!("case_id {}", record.case_id),
                    format!("has {length} tokens in a prompt and its answer, the model {longest} positions"),
                )),
                _ => Ok(case),
            }
        };
        let cases = records.iter().map(case).collect::<Result<Vec<_>, RequestError>>();
        let cases = cases.map_err(|error| FormatError::malformed(file, error.to_string()))?;
        if cases.is_empty() {
            return Err(RequestError::invalid("--limit", "leaves no record").into());
        }
        Ok(cases)
    }

    fn measures(&self, files: &ModelFiles) -> Result<Measures, CliError> {
        let text = match &self.evaluation.text {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| FormatError::io(path, source))?;
                let tokenizer = crate::args::require_tokenizer(files, "--text", "leave it out")?;
                let ids = tokenizer.encode(&text)?;
                if ids.len() < 2 {
                    let reason = "has fewer than two tokens: a perplexity needs more";
                    return Err(FormatError::malformed(path, reason).into());
                }
                Some(ids)
            }
        };
        Ok(Measures { generate: self.evaluation.generate, generations: GENERATIONS, text })
    }
}

/// The records to choose on and those to measure; all of them are measured where nothing is chosen.
fn divide(cases: &[Case], choosing: bool) -> (Vec<Case>, Vec<Case>) {
    if !choosing || cases.len() < CHOOSE_EVERY {
        return (if choosing { cases.to_vec() } else { Vec::new() }, cases.to_vec());
    }
    let (choose_on, measured): (Vec<_>, Vec<_>) =
        cases.iter().cloned().enumerate().partition(|(at, _)| at.is_multiple_of(CHOOSE_EVERY));
    let cases = |numbered: Vec<(usize, Case)>| numbered.into_iter().map(|(_, case)| case).collect();
    (cases(choose_on), cases(measured))
}

/// The model as it is, and the plan: the only one, or the best on the cases to choose on.
fn evaluated(
    model: &Gpt2,
    (choose_on, measured): (&[Case], &[Case]),
    mut plans: Vec<EditPlan>,
    measures: &Measures,
    spinner: &Spinner,
) -> Result<Vec<EvaluationRow>, CliError> {
    let mut chosen = 0;
    if plans.len() > 1 {
        let rows = swept(model, choose_on, &plans, spinner)?;
        let scores: Vec<Scores> = rows.into_iter().map(|row| row.scores).collect();
        chosen = best(&scores).unwrap_or(0);
    }
    let plan = plans.swap_remove(chosen);
    let mut rows = Vec::new();
    for (name, plan) in [("original", None), (plan.method.name(), Some(&plan))] {
        let say = |done| {
            spinner.say(format!("{name}: {done} of {}", measured.len()));
            ControlFlow::Continue(())
        };
        if let Some(scores) = evaluate(model, measured, plan, measures, say)? {
            rows.push(EvaluationRow::new(name, plan, scores));
        }
    }
    Ok(rows)
}

fn swept(
    model: &Gpt2,
    cases: &[Case],
    plans: &[EditPlan],
    spinner: &Spinner,
) -> Result<Vec<EvaluationRow>, CliError> {
    let scores = sweep_cases(model, cases, plans, |done| {
        spinner.say(format!("trying layers and step sizes: {done} of {}", plans.len()));
        ControlFlow::Continue(())
    })?;
    let rows = plans.iter().zip(scores.unwrap_or_default());
    Ok(rows.map(|(plan, scores)| EvaluationRow::new(plan.method.name(), Some(plan), scores)).collect())
}
