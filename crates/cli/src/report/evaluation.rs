//! Methods of editing side by side.

use super::number::short;
use super::page::{Page, fit, paint};
use super::style::{BOLD, DIM};
use retrograd::lens::edit::{EvaluationReport, EvaluationRow};

/// Rows that are listed at most.
const ROWS: usize = 200;

/// A table with a row for each way of editing.
pub(crate) fn evaluation(page: &mut Page, report: &EvaluationReport) {
    let records = report.rows.first().map_or(0, |row| row.scores.records);
    let chosen = match report.chosen_on {
        0 => String::new(),
        n => format!("; layers and step sizes chosen on {n} others"),
    };
    page.heading("Evaluation", &format!("{records} records of {}{chosen}", report.file));
    let titles = ["efficacy", "paraphr.", "neighb.", "score", "entropy", "perpl.", "ms/edit", "passes"];
    let header: String = titles.iter().map(|title| format!("{title:>9}")).collect();
    let width = page.width().saturating_sub(9 * titles.len() + 2).clamp(16, 40);
    page.line(paint(DIM, format_args!("  {}{header}", fit("method", width))));
    for row in report.rows.iter().take(ROWS) {
        let share = |x: f64| format!("{:.1}", 100.0 * x);
        let maybe = |x: Option<f64>, show: fn(f64) -> String| x.map_or("–".to_owned(), show);
        let scores = &row.scores;
        let edited = row.method.is_some();
        let with_argmax = |p: f64, argmax: f64| (share(p), share(argmax));
        let (efficacy, said) = with_argmax(scores.efficacy, scores.efficacy_argmax);
        let percent = |x: f64| format!("{:.1}", 100.0 * x);
        let cells = [
            efficacy,
            maybe(scores.paraphrase, percent),
            maybe(scores.neighbourhood, percent),
            maybe(scores.score, percent),
            maybe(scores.entropy, |x| format!("{x:.2}")),
            maybe(scores.perplexity, short),
            if edited { short(1000.0 * scores.edit_seconds) } else { "–".to_owned() },
            if edited { passes(row) } else { "–".to_owned() },
        ];
        let cells: String = cells.iter().map(|cell| format!("{cell:>9}")).collect();
        page.line(format_args!("  {}{cells}", paint(BOLD, fit(&row.name, width))));
        let answers =
            [said, maybe(scores.paraphrase_argmax, percent), maybe(scores.neighbourhood_argmax, percent)];
        let answers: String = answers.iter().map(|cell| format!("{cell:>9}")).collect();
        page.line(paint(DIM, format_args!("  {}{answers}", fit(&settings(row), width))));
    }
    page.line("");
    page.remark(
        "Per cent. Efficacy: P(new) > P(true) after the prompt; paraphrase: the same in other words; neighbourhood: \
         P(its own answer) > P(new) for other subjects; second line: the new (or own) answer is the model's answer. \
         Score: harmonic mean of the three. Entropy in bits, of generated text. Passes: forward + backward of one edit.",
    );
}

fn passes(row: &EvaluationRow) -> String {
    format!("{:.1}+{:.1}", row.scores.forward_passes, row.scores.backward_passes)
}

/// Layer, η and steps in brief.
fn settings(row: &EvaluationRow) -> String {
    let Some(eta) = row.eta else { return "answers".to_owned() };
    let layers = match &row.layers[..] {
        [] => String::new(),
        [one] => format!("L{one} "),
        [first, .., last] => format!("L{first}–{last} "),
    };
    let steps =
        row.steps.filter(|steps| *steps > 1).map(|steps| format!(" ≤{steps} steps")).unwrap_or_default();
    format!("{layers}η {eta}{steps}")
}
