//! What an edit did, or what many would do.

use super::bar::bar;
use super::number::{bytes, count, percent, short};
use super::page::{Page, columns, fit, paint};
use super::style::{BAR, BOLD, DIM, GOOD};
use super::trace::{quoted, tokens};
use retrograd::formats::EditedModel;
use retrograd::lens::edit::{Cost, EditEntry, EditsReport, Effect, SweepReport};
use std::path::Path;

/// One edit: what was asked, what it changed and what it took.
pub(crate) fn edit(page: &mut Page, entry: &EditEntry, note: &str) {
    tokens(page, &entry.tokens);
    let several = if entry.layers.len() == 1 { "layer" } else { "layers" };
    let steps = if entry.steps == 1 { "step" } else { "steps" };
    let layers = entry.layers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let note = if note.is_empty() { String::new() } else { format!("; {note}") };
    page.heading(
        "Edit",
        &format!(
            "{} of {several} {layers}, η {}, {} {steps}{note}",
            if entry.method == "shift" { "forward pass shift" } else { "sgd" },
            entry.eta,
            entry.steps
        ),
    );
    if !entry.target_tokens.is_empty() {
        let pieces: Vec<String> = entry.target_tokens.iter().map(quoted).collect();
        let use_made = match entry.method {
            "shift" => "the first of them is written and measured",
            _ => "sgd goes down the mean loss of all of them; the first is measured",
        };
        page.remark(&format!("  the target is {} tokens, {}: {use_made}", pieces.len(), pieces.join(" ")));
    }
    let target = quoted(&entry.target);
    let width = columns(&target).max(6) + 3;
    page.line(paint(
        DIM,
        format_args!("  {:<7} {:>width$}  {:20} {:>7}  answer", "", format!("p({target})"), "", "rank"),
    ));
    for (name, effect) in [("before", &entry.before), ("after", &entry.after)] {
        let answer = format!("{} {}", quoted(&effect.answer.token), percent(effect.answer.probability));
        let success = effect.is_success();
        page.line(format_args!(
            "  {} {:>width$}  {} {:>7}  {}",
            paint(BOLD, format_args!("{name:<7}")),
            percent(effect.target_probability),
            paint(if success { GOOD } else { BAR }, fit(&bar(effect.target_probability, 20), 20)),
            count(effect.target_rank),
            if success { paint(GOOD, answer) } else { answer },
        ));
    }
    norms(page, entry);
    page.line("");
    page.remark(&took(&entry.cost));
}

/// ‖ΔW‖ of what was changed.
fn norms(page: &mut Page, entry: &EditEntry) {
    /// Rows at most.
    const ROWS: usize = 16;
    page.heading("Changed", "‖ΔW‖, Frobenius");
    let largest = entry.delta_norms.values().copied().fold(0.0, f64::max);
    let widest = entry.delta_norms.keys().map(String::len).max().unwrap_or(0);
    for (name, norm) in entry.delta_norms.iter().take(ROWS) {
        let share = if largest > 0.0 { norm / largest } else { 0.0 };
        page.line(format_args!("  {name:<widest$} {:>9}  {}", short(*norm), paint(BAR, bar(share, 20))));
    }
    if entry.delta_norms.len() > ROWS {
        let more = entry.delta_norms.len() - ROWS;
        page.line(paint(DIM, format_args!("  … and {more} more, all of them in --json")));
    }
}

fn took(cost: &Cost) -> String {
    let passes = |n: usize, kind: &str| format!("{n} {kind} {}", if n == 1 { "pass" } else { "passes" });
    format!(
        "{}, {}, {} ms; one more forward pass measured the effect",
        passes(cost.forward_passes, "forward"),
        passes(cost.backward_passes, "backward"),
        short(1000.0 * cost.seconds)
    )
}

/// Several edits, one a line.
pub(crate) fn edits(page: &mut Page, report: &EditsReport) {
    page.heading("Edits", &format!("{}, each on top of those before", report.edits.len()));
    let texts: Vec<(String, String)> = report
        .edits
        .iter()
        .map(|entry| {
            let prompt: String = entry
                .tokens
                .iter()
                .map(|token| token.text.clone().unwrap_or_else(|| format!("#{} ", token.id)))
                .collect();
            (crate::output::one_line(&prompt), quoted(&entry.target))
        })
        .collect();
    // 46 columns go to the numbers.
    let most = page.width().saturating_sub(46).max(16);
    let widest =
        |of: fn(&(String, String)) -> &String| texts.iter().map(|t| columns(of(t))).max().unwrap_or(0);
    let (prompts, targets) = (widest(|t| &t.0).min(most), widest(|t| &t.1).clamp(6, 14));
    page.line(paint(
        DIM,
        format_args!(
            "  {} {} {:>8} {:>8} {:>8}  answer at the end",
            fit("prompt", prompts),
            fit("target", targets),
            "before",
            "after",
            "at end"
        ),
    ));
    for ((entry, last), (prompt, target)) in report.edits.iter().zip(&report.finally).zip(&texts) {
        let p = |effect: &Effect| percent(effect.target_probability);
        let said = quoted(&last.answer.token);
        page.line(format_args!(
            "  {} {} {:>8} {:>8} {:>8}  {}{}",
            fit(prompt, prompts),
            fit(target, targets),
            p(&entry.before),
            p(&entry.after),
            p(last),
            if last.is_success() { paint(GOOD, said) } else { said },
            if entry.steps == 0 { " (was the answer already)" } else { "" },
        ));
    }
    let kept = report.finally.iter().filter(|effect| effect.is_success()).count();
    page.remark(&format!("{kept} of {} targets are the answer at the end.", report.edits.len()));
}

/// Layers down, step sizes across.
pub(crate) fn sweep(page: &mut Page, report: &SweepReport) {
    let name = if report.method == "shift" { "forward pass shift" } else { "sgd" };
    let facts = if report.facts == 1 { "1 fact".to_owned() } else { format!("{} facts", report.facts) };
    page.heading(
        "Sweep",
        &format!("{name} on {facts}: p(target) after the edit; * where the target is the answer every time"),
    );
    let mut etas: Vec<f32> = Vec::new();
    let mut layers: Vec<&[usize]> = Vec::new();
    for row in &report.rows {
        if !etas.contains(&row.eta) {
            etas.push(row.eta);
        }
        if !layers.contains(&&row.layers[..]) {
            layers.push(&row.layers);
        }
    }
    let label = |layers: &[usize]| match layers {
        [one] => format!("L{one}"),
        [first, .., last] => format!("L{first}–{last}"),
        [] => String::new(),
    };
    // 6 columns for the layer, 9 for a number.
    let across = ((page.width() - 8) / 9).max(1);
    for etas in etas.chunks(across) {
        let header: String = etas.iter().map(|eta| format!("{eta:>9}")).collect();
        page.line(paint(DIM, format_args!("  {:<6}{header}", "η")));
        for layers in &layers {
            let cells: String = etas
                .iter()
                .map(|eta| {
                    let row = report
                        .rows
                        .iter()
                        .enumerate()
                        .find(|(_, row)| row.eta == *eta && row.layers == *layers);
                    let Some((at, row)) = row else { return " ".repeat(9) };
                    let mark = if row.success >= 1.0 { "*" } else { " " };
                    let text = format!("{:>9}", format!("{}{mark}", percent(row.target_probability)));
                    match (report.best == Some(at), row.success >= 1.0) {
                        (true, _) => paint(BOLD, text),
                        (_, true) => paint(GOOD, text),
                        _ => text,
                    }
                })
                .collect();
            page.line(format_args!("  {} {cells}", paint(DIM, format_args!("{:<5}", label(layers)))));
        }
    }
    if let Some(best) = report.best.and_then(|at| report.rows.get(at)) {
        page.line("");
        page.remark(&format!(
            "'auto' takes {}, η {}: target {}, ‖ΔW‖/‖W‖ {}",
            label(&best.layers),
            best.eta,
            percent(best.target_probability),
            short(best.relative_change)
        ));
    }
}

/// The directory that was written.
pub(crate) fn edited(page: &mut Page, out: &Path, written: &EditedModel) {
    page.line(format_args!(
        "wrote {} ({}; {} of its tensors rewritten in {}, {} files as they were)",
        out.display(),
        bytes(written.bytes),
        written.tensors,
        written.rewritten.join(", "),
        written.copied.len()
    ));
}
