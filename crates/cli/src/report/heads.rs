//! The strongest heads with the token pairs behind them.

use super::number::short;
use super::page::{Page, columns, paint};
use super::style::{BOLD, DIM, LOWERS, RAISES};
use super::trace::token_label;
use crate::error::CliError;
use retrograd::TraceRead;
use retrograd::lens::{HeadScore, TokenText, strongest_pairs};

/// Lists the `heads` strongest heads with the `pairs` largest entries of each one's R.
pub(crate) fn strongest(
    page: &mut Page,
    scores: &[HeadScore],
    tokens: &[TokenText],
    trace: &dyn TraceRead,
    (heads, pairs): (usize, usize),
) -> Result<(), CliError> {
    let chosen: Vec<&HeadScore> = scores.iter().filter(|s| s.reversed_norm > 0.0).take(heads).collect();
    if chosen.is_empty() {
        page.heading("Strongest heads", "none");
        page.line("  R is zero everywhere: no query has a choice of keys, or the loss does not reach one.");
        return Ok(());
    }
    page.heading("Strongest heads", "query ← key: more attention there raises or lowers the loss");
    let mut rows = Vec::new();
    for score in chosen {
        for (at, pair) in strongest_pairs(trace, score.id(), pairs)?.into_iter().enumerate() {
            let name = if at == 0 {
                format!("{:<7} {:>9}", score.id().to_string(), short(score.reversed_norm))
            } else {
                " ".repeat(17)
            };
            let label =
                |position: usize| tokens.get(position).map(|t| token_label(t, position)).unwrap_or_default();
            rows.push((name, format!("{} ← {}", label(pair.query), label(pair.key)), pair.value));
        }
    }
    let roomy = page.width() >= 80;
    // So many columns go to the head, R and the words.
    let others = if roomy { 50 } else { 41 };
    let widest = rows.iter().map(|(_, pair, _)| columns(pair)).max().unwrap_or(0);
    let width = widest.min(page.width().saturating_sub(others).max(12));
    page.line(paint(DIM, format_args!("  {:<7} {:>9}  {:width$} {:>11}", "head", "‖R‖", "pair", "R")));
    for (name, pair, value) in rows {
        let (style, word) = if value > 0.0 { (RAISES, "raises") } else { (LOWERS, "lowers") };
        let words = if roomy { format!("{word} the loss") } else { word.to_owned() };
        let value =
            format!("{:>11}", format!("{}{}", if value > 0.0 { "+" } else { "" }, short(f64::from(value))));
        page.line(format_args!(
            "  {}  {} {}  {}",
            paint(BOLD, name),
            super::page::fit(&pair, width),
            paint(style, value),
            paint(style, words)
        ));
    }
    Ok(())
}
