//! The page that `retrograd lens` prints.

use super::bar::bar;
use super::number::{count, percent, short};
use super::page::{Page, columns, fit, paint};
use super::style::{BAR, BOLD, DIM, GOOD, heat};
use super::trace::{quoted, token_name, tokens};
use retrograd::lens::{LensEntry, LensReport, LensTable, TokenText};

/// Columns of the layer's name before the cells.
const MARGIN: usize = 5;
/// A cell holds two tokens and a stroke: no narrower and no wider than this.
const NARROWEST_CELL: usize = 11;
const WIDEST_CELL: usize = 26;
/// Columns of a norm in thousandths of the largest.
const NORM_CELL: usize = 5;

/// Tokens, answer, one table a site, the target's rank by layer, the norms.
pub(crate) fn lens(page: &mut Page, report: &LensReport) {
    tokens(page, &report.tokens);
    answer(page, report);
    for table in report.tables() {
        readings(page, report, &table);
        norms(page, &report.tokens, &table);
    }
    ranks(page, report, report.position);
    if let Some(gradients) = &report.gradients {
        super::gradients::gradients(page, gradients, &report.tokens);
    }
}

fn answer(page: &mut Page, report: &LensReport) {
    page.heading("Loss", "and what the model answers");
    let mut line = format!("  {}", paint(BOLD, format_args!("{:.4}", report.loss)));
    line +=
        &format!("   answer {} with {}", quoted(&report.answer.token), percent(report.answer.probability));
    if let Some(target) = &report.target {
        let (name, p) = (quoted(&target.token), percent(target.probability));
        line += &format!("   target {name} with {p}, rank {}", count(target.rank));
    }
    page.line(line);
}

/// What a site holds, in a few words.
fn meaning(site: &str) -> &'static str {
    match site {
        "mlp.c_fc.input" => "x: what the MLP's first matrix reads; a step imprints it",
        "mlp.c_proj.delta" => "δ at the MLP's output; a step down the loss writes the least probable token",
        "attn.c_attn.input" => "x: what queries, keys and values are made from",
        "attn.c_proj.input" => "x: what the heads return, side by side",
        "attn.c_proj.delta" => "δ at the attention's output; a step writes the least probable token",
        "resid_pre" => "the residual stream as it enters the layer",
        "resid_mid" => "the residual stream after attention",
        "resid_post" => "the residual stream as it leaves the layer",
        _ => "the loss's derivative by the residual stream",
    }
}

/// Layers down, positions across; as many panels as the page's width asks for.
fn readings(page: &mut Page, report: &LensReport, table: &LensTable<'_>) {
    let normalized = if report.normalized { "; vectors of norm 1" } else { "" };
    page.heading(
        table.site,
        &format!("{}{normalized}. Cells: most \\ least probable token; shade: norm", meaning(table.site)),
    );
    let room = page.width() - MARGIN;
    let per_panel = (room / NARROWEST_CELL).clamp(1, table.positions);
    // Panels of about the same width rather than a narrow rest.
    let panels = table.positions.div_ceil(per_panel);
    let per_panel = table.positions.div_ceil(panels);
    let cell = (room / per_panel).clamp(NARROWEST_CELL, WIDEST_CELL);
    let largest = table.largest_norm();
    for first in (0..table.positions).step_by(per_panel) {
        let shown = first..(first + per_panel).min(table.positions);
        let titles: String = shown.clone().map(|at| title(&report.tokens, at, cell)).collect();
        page.line(format_args!("{:MARGIN$}{}", "", paint(DIM, titles)));
        for row in table.rows() {
            let cells: String = row[shown.clone()]
                .iter()
                .map(|entry| {
                    let share = if largest > 0.0 { entry.norm / largest } else { 0.0 };
                    paint(heat(share, true), fit(&pair(entry, cell - 2), cell - 1)) + " "
                })
                .collect();
            let layer = row.first().map_or(0, |entry| entry.layer);
            page.line(format_args!("{} {cells}", paint(DIM, format_args!("{:>4}", format!("L{layer}")))));
        }
    }
}

/// A position's token above its column.
fn title(tokens: &[TokenText], position: usize, cell: usize) -> String {
    let name = tokens.get(position).map(token_name).unwrap_or_default();
    format!("{} ", fit(&format!("{position} {name}"), cell - 1))
}

/// `top \ bottom` in at most `width` columns: the longer of the two gives way first.
fn pair(entry: &LensEntry, width: usize) -> String {
    let name = |list: &[retrograd::lens::Prediction]| {
        list.first().map(|prediction| token_name(&prediction.token)).unwrap_or_default()
    };
    let (top, bottom) = (name(&entry.top), name(&entry.bottom));
    let room = width.saturating_sub(1);
    let (a, b) = (columns(&top), columns(&bottom));
    if a + b <= room {
        return format!("{top}\\{bottom}");
    }
    let a_room = if a <= room / 2 {
        a
    } else if b <= room / 2 {
        room - b
    } else {
        room / 2
    };
    let cut = |text: &str, width: usize| fit(text, width.min(columns(text)));
    format!("{}\\{}", cut(&top, a_room), cut(&bottom, room - a_room))
}

/// Norms in thousandths of the largest.
fn norms(page: &mut Page, tokens: &[TokenText], table: &LensTable<'_>) {
    let largest = table.largest_norm();
    if largest == 0.0 {
        return;
    }
    page.line("");
    page.line(paint(
        DIM,
        format_args!("{:MARGIN$}‖·‖ in thousandths of the largest, {}", "", short(largest)),
    ));
    let per_panel = ((page.width() - MARGIN) / NORM_CELL).clamp(1, table.positions);
    for first in (0..table.positions).step_by(per_panel) {
        let shown = first..(first + per_panel).min(table.positions);
        let titles: String = shown
            .clone()
            .map(|at| format!("{} ", fit(&tokens.get(at).map(token_name).unwrap_or_default(), NORM_CELL - 1)))
            .collect();
        page.line(format_args!("{:MARGIN$}{}", "", paint(DIM, titles)));
        for row in table.rows() {
            let cells: String = row[shown.clone()]
                .iter()
                .map(|entry| {
                    let share = entry.norm / largest;
                    paint(heat(share, true), format_args!("{:>4} ", (share * 1000.0).round()))
                })
                .collect();
            let layer = row.first().map_or(0, |entry| entry.layer);
            page.line(format_args!("{} {cells}", paint(DIM, format_args!("{:>4}", format!("L{layer}")))));
        }
    }
}

/// The target's rank in every layer at one position, a column a site, with bars on a logarithmic scale.
fn ranks(page: &mut Page, report: &LensReport, position: usize) {
    let Some(target) = &report.target else { return };
    let tables = report.tables();
    if tables.is_empty() {
        return;
    }
    let name = report.tokens.get(position).map(token_name).unwrap_or_default();
    page.heading(
        "Rank of the target",
        &format!("{} at {name} ({position}), 0 is the most probable; bars: logarithm", quoted(&target.token)),
    );
    let most = report.entries.iter().filter_map(|entry| entry.target_rank).max().unwrap_or(0);
    let column = ((page.width() - MARGIN) / tables.len()).min(40);
    let width = column.saturating_sub(10);
    let titles: String = tables.iter().map(|table| fit(&format!("  {}", table.site), column)).collect();
    page.line(format_args!("{:MARGIN$}{}", "", paint(DIM, titles)));
    let layers: std::collections::BTreeSet<usize> = report.entries.iter().map(|entry| entry.layer).collect();
    for layer in layers {
        let cells: String = tables
            .iter()
            .map(|table| {
                let entry =
                    table.entries.iter().find(|entry| entry.layer == layer && entry.position == position);
                let Some(rank) = entry.and_then(|entry| entry.target_rank) else {
                    return " ".repeat(column);
                };
                let share = (1.0 + rank as f64).ln() / (1.0 + most as f64).ln().max(1.0);
                let style = if rank == 0 { GOOD } else { BAR };
                format!("{:>8}  {}", count(rank), paint(style, fit(&bar(share, width), width)))
            })
            .collect();
        page.line(format_args!("{} {cells}", paint(DIM, format_args!("{:>4}", format!("L{layer}")))));
    }
}
