//! The page that `retrograd attention` prints.

use super::bar::bar;
use super::number::short;
use super::page::{Page, paint};
use super::style::{BAR, BOLD, DIM};
use super::trace::{token_label, tokens};
use crate::error::CliError;
use retrograd::lens::{AttentionReport, strongest_pairs};
use retrograd::{BlockSite, Layer, Site, TraceRead};

/// A table of the `top` strongest heads with the strongest pair of each.
pub(crate) fn attention(
    page: &mut Page,
    report: &AttentionReport,
    trace: &dyn TraceRead,
    top: usize,
) -> Result<(), CliError> {
    tokens(page, &report.tokens);
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
