//! The vocabulary lens as a figure: the paper's tables, the target's rank by layer, the norms.

use crate::axis::short;
use crate::{Curve, Curves, Drawing, HeatMap, Scale, TokenCell, TokenTable, stack};
use retrograd_lens::{LensEntry, LensReport, LensTable, Prediction, TokenText};

/// Which panels a figure has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LensPanels {
    /// A table of tokens for each site.
    pub tables: bool,
    /// The target's rank in every layer, a curve a site.
    pub ranks: bool,
    /// A map of norms for each site.
    pub norms: bool,
}

impl LensPanels {
    /// All of them.
    pub const ALL: LensPanels = LensPanels { tables: true, ranks: true, norms: true };
}

/// The panels of a report on one page. `vocabulary` is the number of tokens: the largest rank is one less.
pub fn lens_figure(report: &LensReport, vocabulary: usize, panels: LensPanels) -> Drawing {
    let mut drawn = Vec::new();
    let tables = report.tables();
    if panels.tables {
        drawn.extend(tables.iter().map(|table| token_table(report, table).draw()));
    }
    if panels.ranks && report.target.is_some() {
        drawn.push(ranks(report, &tables, vocabulary).draw());
    }
    if panels.norms {
        drawn.extend(tables.iter().map(|table| norms(report, table).draw()));
    }
    stack(drawn)
}

/// The factor's letter, and what the tensor is.
fn heading(site: &str) -> String {
    if let Some(place) = site.strip_suffix(".delta") {
        format!("{place}: δ, the backward signal")
    } else if let Some(layer) = site.strip_suffix(".input") {
        format!("{layer}: x, the layer's input")
    } else {
        format!("{site}: the residual stream")
    }
}

fn columns(report: &LensReport) -> Vec<String> {
    report.tokens.iter().map(TokenText::label).collect()
}

fn layer(row: &[LensEntry]) -> String {
    row.first().map_or(0, |entry| entry.layer).to_string()
}

fn token_table(report: &LensReport, table: &LensTable<'_>) -> TokenTable {
    let reading = if table.site.ends_with(".delta") {
        "most probable token above, least probable below: what a step down the loss writes"
    } else {
        "most probable token above, least probable below"
    };
    let normalized = if report.normalized { "; vectors divided by their norm" } else { "" };
    TokenTable {
        title: heading(table.site),
        remark: format!("layers down, positions across; {reading}{normalized}"),
        columns: columns(report),
        rows: table
            .rows()
            .map(|row| (layer(row), row.iter().map(|entry| cell(report, entry)).collect()))
            .collect(),
        size_name: "norm".to_owned(),
    }
}

fn cell(report: &LensReport, entry: &LensEntry) -> TokenCell {
    let first = |list: &[Prediction]| list.first().map(|p| p.token.label()).unwrap_or_default();
    let listed = |list: &[Prediction]| {
        let named: Vec<String> =
            list.iter().map(|p| format!("{} {}", p.token.label(), short(p.probability))).collect();
        named.join("  ")
    };
    let place = report.tokens.get(entry.position).map(TokenText::label).unwrap_or_default();
    let rank = entry.target_rank.map(|rank| format!("\ntarget's rank {rank}")).unwrap_or_default();
    TokenCell {
        upper: first(&entry.top),
        lower: first(&entry.bottom),
        size: entry.norm,
        title: format!(
            "layer {}, {place} ({}): norm {}\nmost probable: {}\nleast probable: {}{rank}",
            entry.layer,
            entry.position,
            short(entry.norm),
            listed(&entry.top),
            listed(&entry.bottom)
        ),
    }
}

fn ranks(report: &LensReport, tables: &[LensTable<'_>], vocabulary: usize) -> Curves {
    let mut layers: Vec<usize> = report.entries.iter().map(|entry| entry.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    let curve = |table: &LensTable<'_>| {
        let rank = |layer: &usize| {
            let mut entries = table.entries.iter();
            let entry = entries.find(|entry| entry.layer == *layer && entry.position == report.position)?;
            entry.target_rank.map(|rank| rank as f64)
        };
        Curve { name: table.site.to_owned(), values: layers.iter().map(rank).collect() }
    };
    let target = report.target.as_ref().map(|target| target.token.label()).unwrap_or_default();
    let place = report.tokens.get(report.position).map(TokenText::label).unwrap_or_default();
    Curves {
        title: format!("Rank of the target {target}"),
        remark: format!("at {place} ({}); 0 is the most probable token", report.position),
        across: "layer".to_owned(),
        places: layers.iter().map(usize::to_string).collect(),
        curves: tables.iter().map(curve).collect(),
        scale: Scale::Rank(vocabulary.saturating_sub(1) as f64),
    }
}

fn norms(report: &LensReport, table: &LensTable<'_>) -> HeatMap {
    HeatMap {
        title: format!("Norms of {}", table.site),
        remark: "layers down, positions across".to_owned(),
        columns: columns(report),
        rows: table.rows().map(|row| (layer(row), row.iter().map(|entry| entry.norm).collect())).collect(),
        size_name: "norm".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tokens: &[&str], layers: usize) -> LensReport {
        let token = |id: usize, text: &str| TokenText { id: id as u32, text: Some(text.to_owned()) };
        let prediction = |text: &str| Prediction { token: token(9, text), probability: 0.5 };
        let mut entries = Vec::new();
        for site in ["mlp.c_fc.input", "mlp.c_proj.delta"] {
            for layer in 0..layers {
                for position in 0..tokens.len() {
                    entries.push(LensEntry {
                        site,
                        layer,
                        position,
                        norm: (layer + position) as f64,
                        target_rank: Some(layer * 100),
                        answer_rank: 0,
                        target_probability: Some(0.1),
                        entropy_bits: 1.0,
                        top: vec![prediction(" <b>&")],
                        bottom: vec![prediction("日本\n")],
                    });
                }
            }
        }
        LensReport {
            schema: "retrograd-lens/1",
            model: "m".to_owned(),
            tokens: tokens.iter().enumerate().map(|(id, text)| token(id, text)).collect(),
            position: tokens.len() - 1,
            answer: prediction(" a"),
            target: Some(retrograd_lens::TargetPrediction {
                token: token(3, " Paris"),
                probability: 0.1,
                rank: 3,
            }),
            loss: 1.0,
            normalized: false,
            entries,
            gradients: None,
        }
    }

    #[test]
    fn every_panel_is_drawn_and_stays_on_the_page() {
        for (tokens, layers) in
            [(vec![" in"], 1), (vec!["Obama", " grew", " up", " in"], 12), (vec![" a"; 70], 3)]
        {
            let report = report(&tokens, layers);
            let figure = lens_figure(&report, 50257, LensPanels::ALL);
            let (width, height) = figure.size();
            let svg = figure.to_svg();
            assert!(svg.contains("layer 0, ") && svg.contains("&lt;b&gt;&amp;"));
            let cells = 2 * 2 * layers * tokens.len();
            assert_eq!(svg.matches("<title>").count(), cells);
            assert!(width < 10_000.0 && height < 3_000.0, "{width} × {height}");
            assert!(figure.to_png(1.0).unwrap().len() > 1000);
            let only = LensPanels { tables: false, norms: false, ranks: true };
            assert!(!lens_figure(&report, 50257, only).to_svg().contains("<title>"));
        }
    }
}
