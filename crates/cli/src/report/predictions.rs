//! What the model predicts.

use super::bar::bar;
use super::number::{count, percent};
use super::page::{Page, columns, fit, paint};
use super::style::{BAR, DIM, GOOD};
use super::trace::{quoted, token_label};
use retrograd::lens::{PositionPredictions, TargetPrediction, TraceSummary};

/// Positions listed at most.
const POSITIONS: usize = 24;

/// The most probable tokens after one position as bars, or a line for each of several positions.
pub(crate) fn predictions(page: &mut Page, summary: &TraceSummary) {
    match &summary.predictions[..] {
        [] => {}
        [one] => top(page, summary, one),
        several => positions(page, summary, several),
    }
}

fn top(page: &mut Page, summary: &TraceSummary, at: &PositionPredictions) {
    let Some(token) = summary.tokens.get(at.position) else { return };
    page.heading("Prediction", &format!("after {}", token_label(token, at.position)));
    let marks: Vec<(&TargetPrediction, &str)> = [(&summary.target, "← target"), (&summary.minus, "← minus")]
        .into_iter()
        .filter_map(|(token, mark)| token.as_ref().map(|token| (token, mark)))
        .collect();
    let mut rows: Vec<(String, f64, Option<usize>, &str)> = at
        .top
        .iter()
        .enumerate()
        .map(|(rank, p)| {
            let mark = marks.iter().find(|(target, _)| target.token.id == p.token.id);
            (quoted(&p.token), p.probability, Some(rank), mark.map_or("", |(_, mark)| mark))
        })
        .collect();
    for (target, mark) in &marks {
        if !at.top.iter().any(|p| p.token.id == target.token.id) {
            rows.push((quoted(&target.token), target.probability, None, mark));
        }
    }
    let widest = rows.iter().map(|(text, ..)| columns(text)).max().unwrap_or(0).min(28);
    // 8 for the percentage, 10 for the mark, 6 around them.
    let width = page.width().saturating_sub(widest + 24).min(50);
    for (text, probability, rank, mark) in rows {
        let style = if mark.is_empty() { BAR } else { GOOD };
        let gap = if rank.is_none() { "…" } else { " " };
        let share = bar(probability, width);
        let mark = if mark.is_empty() { String::new() } else { format!(" {mark}") };
        page.line(format_args!(
            "{gap} {} {:>8}  {}{}",
            fit(&text, widest),
            percent(probability),
            paint(style, share),
            paint(GOOD, mark)
        ));
    }
}

fn positions(page: &mut Page, summary: &TraceSummary, positions: &[PositionPredictions]) {
    page.heading("Predictions", "the target at each position, and what the model would have said");
    let label = |position: usize| {
        summary.tokens.get(position).map(|token| token_label(token, position)).unwrap_or_default()
    };
    let shown = &positions[..positions.len().min(POSITIONS)];
    let width = if page.width() >= 76 { 10 } else { 3 };
    // 46 columns go to the numbers and what the model said.
    let most = (page.width().saturating_sub(46 + width) / 2).clamp(8, 24);
    let widest = |texts: Vec<String>| texts.iter().map(|text| columns(text)).max().unwrap_or(0).min(most);
    let of_target =
        |at: &PositionPredictions| at.target.as_ref().map(|t| quoted(&t.token)).unwrap_or_default();
    let (after, wanted) = (
        widest(shown.iter().map(|at| label(at.position)).collect()),
        widest(shown.iter().map(of_target).collect()).max(6),
    );
    page.line(paint(
        DIM,
        format_args!(
            "  {} {} {:>8}  {:width$} {:>9}  said",
            fit("after", after),
            fit("target", wanted),
            "p",
            "",
            "rank"
        ),
    ));
    for at in shown {
        let (p, rank) = at.target.as_ref().map_or((0.0, 0), |target| (target.probability, target.rank));
        let said = at.top.first();
        let said = match said {
            Some(_) if rank == 0 => paint(GOOD, "the same"),
            Some(p) => format!("{} {}", quoted(&p.token), percent(p.probability)),
            None => String::new(),
        };
        page.line(format_args!(
            "  {} {} {:>8}  {} {:>9}  {said}",
            fit(&label(at.position), after),
            fit(&of_target(at), wanted),
            percent(p),
            paint(BAR, fit(&bar(p, width), width)),
            count(rank),
        ));
    }
    if positions.len() > shown.len() {
        let more = positions.len() - shown.len();
        page.line(paint(DIM, format_args!("  … and {more} more positions, all of them in --json")));
    }
}
