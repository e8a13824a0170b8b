//! The two maps of a head, side by side, as numbers.

use super::number::short;
use super::page::{Page, fit, paint};
use super::style::{DIM, LOWERS, RAISES, heat};
use super::trace::token_label;
use crate::error::CliError;
use retrograd::lens::{AttentionReport, HeadScore};
use retrograd::{BlockSite, Layer, Site, TraceRead};

/// Columns of a key in A, and in R, which has signs; of a query's label.
const PATTERN_CELL: usize = 4;
const REVERSED_CELL: usize = 6;
const LABEL: usize = 14;

/// Draws A in percent and R in thousandths of its largest element, positive in red where more attention raises the
/// loss; nothing where the maps were not captured or do not fit beside each other.
pub(crate) fn maps(
    page: &mut Page,
    report: &AttentionReport,
    head: &HeadScore,
    trace: &dyn TraceRead,
) -> Result<(), CliError> {
    let t = report.tokens.len();
    let site = |site| Site::Block(Layer(head.layer), site);
    let sites = [site(BlockSite::Pattern), site(BlockSite::Reversed)];
    let held = trace.sites();
    let fits = LABEL + 3 + t * (PATTERN_CELL + REVERSED_CELL) <= page.width();
    if !fits || !sites.iter().all(|site| held.contains(site)) {
        return Ok(());
    }
    let read = trace.read_all(&sites)?; // [H, T, T] each
    let of_head = |at: usize| &read[at].as_f32()[head.head * t * t..][..t * t];
    let (pattern, reversed) = (of_head(0), of_head(1));
    let largest = reversed.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if largest == 0.0 {
        return Ok(());
    }
    page.heading(
        &format!("Maps of {}", head.id()),
        &format!("queries down, keys across: A in %, R in thousandths of {}", short(f64::from(largest))),
    );
    let keys = |cell: usize| (0..t).map(|key| format!("{key:>cell$}")).collect::<String>();
    page.line(format_args!(
        "  {:LABEL$}{}   {}",
        "",
        paint(DIM, keys(PATTERN_CELL)),
        paint(DIM, keys(REVERSED_CELL))
    ));
    for query in 0..t {
        let label = fit(&token_label(&report.tokens[query], query), LABEL);
        let attention: String = (0..t)
            .map(|key| match key <= query {
                true => {
                    let share = pattern[query * t + key];
                    paint(heat(f64::from(share), true), format_args!("{:>3} ", (share * 100.0).round()))
                }
                false => " ".repeat(PATTERN_CELL),
            })
            .collect();
        let signed: String = (0..t)
            .map(|key| {
                let value = (reversed[query * t + key] / largest * 1000.0).round();
                match key <= query {
                    true if value == 0.0 => format!("{:>REVERSED_CELL$}", "0"),
                    true => {
                        paint(if value > 0.0 { RAISES } else { LOWERS }, format!("{value:>+REVERSED_CELL$}"))
                    }
                    false => " ".repeat(REVERSED_CELL),
                }
            })
            .collect();
        page.line(format_args!("  {}{attention}   {signed}", paint(DIM, label)));
    }
    page.line(paint(DIM, "  R: + more attention there raises the loss, − lowers it"));
    Ok(())
}
