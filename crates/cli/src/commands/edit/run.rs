//! Edits of given facts: shown, swept or written.

use super::EditCommand;
use crate::engine::ModelFiles;
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::progress::Spinner;
use crate::report::{self, Page};
use retrograd::formats::{EditedModel, TensorEdit, write_edited_model};
use retrograd::lens::edit::{
    EditEntry, EditPlan, EditReport, EditsReport, Effect, Fact, SweepReport, apply, choose, edit_entry, sweep,
};
use retrograd::{Interventions, ModelError, RequestError, WeightEdit};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;

/// What was edited, kept beside the edited weights.
const RECORD: &str = "retrograd-edit.json";

impl EditCommand {
    pub(super) fn on_facts(&self) -> Result<(), CliError> {
        let files = ModelFiles::open(&self.model)?;
        let facts = self.facts(&files)?;
        let plans = self.plan.plans(&files.config, self.force, self.sweep)?;
        let model = self.load(&files)?;
        let mut edit = model.edit()?;
        if self.sweep {
            return self.show_sweep(&mut edit, &facts, &plans);
        }
        let plan = chosen(&mut edit, &facts, plans)?;
        let mut entries = Vec::new();
        for fact in &facts {
            let outcome = apply(&mut edit, fact, &plan)?;
            if outcome.steps == 0 && self.edits.is_none() {
                let reason = "is the answer already: nothing was edited; --force edits all the same";
                let target = files.tokenizer.as_ref().map(|tokenizer| tokenizer.decode(&fact.target));
                return Err(RequestError::invalid(format!("'{}'", target.unwrap_or_default()), reason).into());
            }
            let changes = edit.changes()?;
            entries.push(edit_entry(fact, &plan, outcome, &changes, files.tokenizer.as_ref()));
        }
        match (&self.edits, entries.pop()) {
            (None, Some(entry)) => self.finish_one(&files, &edit, entry),
            (_, last) => {
                entries.extend(last);
                self.finish_several(&files, &edit, &facts, entries)
            }
        }
    }

    fn show_sweep(&self, edit: &mut WeightEdit, facts: &[Fact], plans: &[EditPlan]) -> Result<(), CliError> {
        let rows = swept(edit, facts, plans)?;
        let report = SweepReport {
            schema: "retrograd-edit-sweep/1",
            model: edit.model().name().to_owned(),
            method: plans.first().map_or("", |plan| plan.method.name()),
            facts: facts.len(),
            best: choose(&rows),
            rows,
        };
        if self.json {
            return print_json(&report);
        }
        let mut page = Page::new();
        report::edit_sweep(&mut page, &report);
        print_styled(&page.finish())
    }

    fn finish_one(&self, files: &ModelFiles, edit: &WeightEdit, entry: EditEntry) -> Result<(), CliError> {
        let out = self.out.as_ref().map(|out| out.display().to_string());
        let model = edit.model().name().to_owned();
        let report = EditReport { schema: "retrograd-edit/1", model, edit: entry, out };
        let written = self.write(files, edit, &report)?;
        if self.json {
            return print_json(&report);
        }
        let mut page = Page::new();
        report::edit(&mut page, &report.edit, &self.plan_note());
        self.end(&mut page, written.as_ref());
        print_styled(&page.finish())
    }

    fn finish_several(
        &self,
        files: &ModelFiles,
        edit: &WeightEdit,
        facts: &[Fact],
        edits: Vec<EditEntry>,
    ) -> Result<(), CliError> {
        let model = edit.model();
        let finally = facts
            .iter()
            .map(|fact| {
                let logits = model.logits(&fact.prompt, &Interventions::default())?;
                Ok(Effect::new(&logits, fact.first_target()?, model.tokenizer())?)
            })
            .collect::<Result<Vec<_>, ModelError>>()?;
        let out = self.out.as_ref().map(|out| out.display().to_string());
        let model = model.name().to_owned();
        let report = EditsReport { schema: "retrograd-edits/1", model, edits, finally, out };
        let written = self.write(files, edit, &report)?;
        if self.json {
            return print_json(&report);
        }
        let mut page = Page::new();
        report::edits(&mut page, &report);
        self.end(&mut page, written.as_ref());
        print_styled(&page.finish())
    }

    /// Writes the edited directory, if one was asked for.
    fn write(
        &self,
        files: &ModelFiles,
        edit: &WeightEdit,
        report: &impl Serialize,
    ) -> Result<Option<EditedModel>, CliError> {
        let Some(out) = &self.out else { return Ok(None) };
        let _spinner = Spinner::new(format!("writing {}", out.display()));
        Ok(Some(write_edited(&files.dir, out, edit, report)?))
    }

    fn plan_note(&self) -> String {
        let biases = if self.plan.biases { "weights and biases" } else { "weights only, no biases" };
        match self.plan.method {
            super::MethodName::Sgd => biases.to_owned(),
            super::MethodName::Shift => String::new(),
        }
    }

    fn end(&self, page: &mut Page, written: Option<&EditedModel>) {
        page.line("");
        match (&self.out, written) {
            (Some(out), Some(written)) => report::edited(page, out, written),
            _ => page.remark("Nothing was written (--out DIR writes the edited model)."),
        }
    }
}

/// The one plan, or the best of several on these facts.
fn chosen(edit: &mut WeightEdit, facts: &[Fact], mut plans: Vec<EditPlan>) -> Result<EditPlan, CliError> {
    if plans.len() > 1 {
        let rows = swept(edit, facts, &plans)?;
        if let Some(best) = choose(&rows) {
            return Ok(plans.swap_remove(best));
        }
    }
    plans.pop().ok_or_else(|| CliError::Usage("there is nothing to choose from".to_owned()))
}

fn swept(
    edit: &mut WeightEdit,
    facts: &[Fact],
    plans: &[EditPlan],
) -> Result<Vec<retrograd::lens::edit::SweepRow>, CliError> {
    let spinner = Spinner::new("trying layers and step sizes".to_owned());
    let all = facts.len() * plans.len();
    Ok(sweep(edit, facts, plans, |done| {
        spinner.say(format!("trying layers and step sizes: {done} of {all}"));
        ControlFlow::Continue(())
    })?)
}

fn write_edited(
    source: &Path,
    out: &Path,
    edit: &WeightEdit,
    report: &impl Serialize,
) -> Result<EditedModel, CliError> {
    let changed = edit.changed_weights()?;
    let tensors: Vec<TensorEdit<'_>> = changed
        .iter()
        .map(|weight| TensorEdit { name: &weight.name, before: &weight.before, after: &weight.after })
        .collect();
    let mut record = serde_json::to_vec_pretty(report)?;
    record.push(b'\n');
    Ok(write_edited_model(source, out, &tensors, &[(RECORD, &record)])?)
}
