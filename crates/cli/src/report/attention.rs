//! The page that `retrograd attention` prints.

use super::bar::bar;
use super::number::short;
use super::page::{Page, paint};
use super::style::{BAR, BOLD, DIM};
use super::table::table;
use super::trace::{quoted, token_label, tokens};
use crate::error::CliError;
use retrograd::lens::{
    AttentionReport, HeadScore, MapSpan, ObjectiveHeads, ObjectivesReport, TaskAttentionReport,
    strongest_pairs,
};
use retrograd::{BlockSite, Head, Layer, Site, TraceRead};

/// A table of the `top` strongest heads with the strongest pair of each.
pub(crate) fn attention(
    page: &mut Page,
    report: &AttentionReport,
    trace: &dyn TraceRead,
    top: usize,
) -> Result<(), CliError> {
    tokens(page, &report.tokens);
    super::grid::grid(page, &report.heads);
    if let Some(strongest) = report.heads.first() {
        super::maps::maps(page, report, strongest, trace)?;
    }
    page.heading("Heads", &format!("by ‖R‖; loss {:.4}", report.loss));
    let max = report.heads.first().map_or(0.0, |score| score.reversed_norm);
    page.line(paint(
        DIM,
        format_args!(
            "  {:>4}  {:<7} {:>9}  {:20} {:>9}  strongest pair: query ← key",
            "", "head", "‖R‖", "", "‖A‖"
        ),
    ));
    let sites = trace.sites();
    for (rank, score) in report.heads.iter().take(top).enumerate() {
        // Of heads whose norms alone were kept there is no pair to show.
        let map = Site::Block(Layer(score.layer), BlockSite::Reversed);
        let pairs = if sites.contains(&map) { strongest_pairs(trace, score.id(), 1)? } else { Vec::new() };
        let pair = pairs.first().map(|pair| {
            let label =
                |at: usize| report.tokens.get(at).map(|token| token_label(token, at)).unwrap_or_default();
            let sign = if pair.value > 0.0 { "raises" } else { "lowers" };
            format!("{} ← {}  {sign} the loss", label(pair.query), label(pair.key))
        });
        let share = if max > 0.0 { score.reversed_norm / max } else { 0.0 };
        page.line(format_args!(
            "  {:>4}  {} {:>9}  {} {:>9}  {}",
            rank + 1,
            paint(BOLD, format_args!("{:<7}", score.id().to_string())),
            short(score.reversed_norm),
            paint(BAR, super::page::fit(&bar(share, 20), 20)),
            score.pattern_norm.map_or("-".to_owned(), short),
            pair.unwrap_or_default(),
        ));
    }
    if report.heads.len() > top {
        page.line(paint(DIM, format_args!("  … and {} more (--top N)", report.heads.len() - top)));
    }
    Ok(())
}

/// ‖R‖ of every head under several objectives side by side, the strongest of the first objective on top.
pub(crate) fn objectives(page: &mut Page, report: &ObjectivesReport, top: usize) {
    tokens(page, &report.tokens);
    page.heading("Heads", "‖R‖ for each target; one forward pass, a backward pass for each");
    let Some(first) = report.objectives.first() else { return };
    let titles: Vec<String> = report.objectives.iter().map(|o| quoted(&o.target)).collect();
    let header: Vec<&str> = ["head"].into_iter().chain(titles.iter().map(String::as_str)).collect();
    let losses = std::iter::once("loss".to_owned())
        .chain(report.objectives.iter().map(|objective| format!("{:.4}", objective.loss)))
        .collect();
    let row = |score: &HeadScore| {
        let of = |objective: &ObjectiveHeads| {
            let found = objective.heads.iter().find(|other| other.id() == score.id());
            found.map_or_else(String::new, |found| short(found.reversed_norm))
        };
        std::iter::once(score.id().to_string()).chain(report.objectives.iter().map(of)).collect()
    };
    let rows: Vec<Vec<String>> =
        std::iter::once(losses).chain(first.heads.iter().take(top).map(row)).collect();
    table(page, &header, &rows);
}

/// The sizes of all heads over a task's prompts.
pub(crate) fn task_attention(page: &mut Page, task: &str, report: &TaskAttentionReport, top: usize) {
    let span = match report.span {
        MapSpan::Prompt => "the prompt",
        MapSpan::Answer => "prompt and answer",
    };
    page.heading(
        &format!("{task}: heads"),
        &format!(
            "by mean ‖R‖ over {} prompts, passes over {span}; mean loss {:.4}",
            report.prompts, report.loss
        ),
    );
    let max = report.heads.first().map_or(0.0, |head| head.reversed_norm);
    page.line(paint(
        DIM,
        format_args!(
            "  {:>4}  {:<7} {:>9} {:>9}  {:20} {:>7} {:>7} {:>12}",
            "", "head", "‖R‖", "std", "", "‖A‖", "std", "Σ A⊙∂L/∂A"
        ),
    ));
    for (rank, head) in report.heads.iter().take(top).enumerate() {
        let share = if max > 0.0 { head.reversed_norm / max } else { 0.0 };
        page.line(format_args!(
            "  {:>4}  {} {:>9} {:>9}  {} {:>7} {:>7} {:>12}",
            rank + 1,
            paint(BOLD, format_args!("{:<7}", head.id().to_string())),
            short(head.reversed_norm),
            short(head.reversed_std),
            paint(BAR, super::page::fit(&bar(share, 20), 20)),
            short(head.pattern_norm),
            short(head.pattern_std),
            short(head.attribution),
        ));
    }
    if report.heads.len() > top {
        page.line(paint(DIM, format_args!("  … and {} more (--top N)", report.heads.len() - top)));
    }
}

/// ‖R‖ and ‖A‖ with heads down and layers across, a table below the other.
pub(crate) fn attention_csv(sizes: Vec<(Head, f64, f64)>) -> String {
    let table = |name: &str, of: fn(&(Head, f64, f64)) -> f64| {
        let values = sizes.iter().map(|size| (size.0.layer, size.0.head, of(size)));
        let table = super::heads_by_layers(values);
        table.lines().map(|line| format!("{name},{line}\n")).collect::<String>()
    };
    table("reversed", |size| size.2) + &table("pattern", |size| size.1)
}
