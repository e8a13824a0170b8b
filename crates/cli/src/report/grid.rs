//! ‖R‖ of every head as a heat map, layers down and heads across.

use super::number::short;
use super::page::{Page, paint};
use super::style::{DIM, heat};
use retrograd::lens::HeadScore;
use std::collections::BTreeMap;

/// Columns of a cell that shows a number up to 1000, and of one that shows a shade only.
const NUMBER_CELL: usize = 5;
const SHADE_CELL: usize = 2;
/// Columns before the cells: `L47 `.
const MARGIN: usize = 6;

/// Draws the grid. In every cell stands the head's ‖R‖ in thousandths of the largest; where that is too wide
/// for the page, a shade.
pub(crate) fn grid(page: &mut Page, heads: &[HeadScore]) {
    let Some(largest) = heads.first() else { return };
    let max = largest.reversed_norm;
    let across = heads.iter().map(|score| score.head + 1).max().unwrap_or(0);
    let mut layers: BTreeMap<usize, BTreeMap<usize, f64>> = BTreeMap::new();
    for score in heads {
        layers.entry(score.layer).or_default().insert(score.head, score.reversed_norm);
    }
    page.heading(
        "Reversed Attention",
        &format!("‖R‖ of every head; 1000 is {} of {}", short(max), largest.id()),
    );
    let numbers = MARGIN + across * NUMBER_CELL <= page.width();
    let cell = if numbers { NUMBER_CELL } else { SHADE_CELL };
    let per_panel = ((page.width() - MARGIN) / cell).max(1);
    for first in (0..across).step_by(per_panel) {
        let shown = first..(first + per_panel).min(across);
        let header: String = shown.clone().map(|head| column_title(head, first, cell)).collect();
        page.line(format_args!("{:MARGIN$}{}", "", paint(DIM, header)));
        for (layer, norms) in &layers {
            let cells: String = shown
                .clone()
                .map(|head| {
                    let share = norms.get(&head).map_or(0.0, |norm| if max > 0.0 { norm / max } else { 0.0 });
                    let text =
                        if numbers { format!("{:>4} ", (share * 1000.0).round()) } else { shade(share) };
                    paint(heat(share, numbers), text)
                })
                .collect();
            page.line(format_args!("{} {cells}", paint(DIM, format_args!("{:>5}", format!("L{layer}")))));
        }
    }
    legend(page, numbers);
}

/// `H0`, `H1`, …; in a narrow grid only every fifth.
fn column_title(head: usize, first: usize, cell: usize) -> String {
    if cell == NUMBER_CELL {
        return format!("{:>4} ", format!("H{head}"));
    }
    match (head - first) % 5 {
        0 => format!("{:<10}", format!("H{head}")),
        _ => String::new(),
    }
}

/// A shade that says without colour what the colour says.
fn shade(share: f64) -> String {
    let shades = ["  ", "··", "░░", "▒▒", "▓▓", "██"];
    let at = (share.clamp(0.0, 1.0).sqrt() * (shades.len() - 1) as f64).round() as usize;
    shades[at].to_owned()
}

fn legend(page: &mut Page, numbers: bool) {
    let steps = [0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0];
    let cells: Vec<String> = steps
        .iter()
        .map(|&share| {
            let number = paint(heat(share, true), format_args!(" {} ", (share * 1000.0_f64).round()));
            if numbers { number } else { paint(heat(share, false), shade(share)) + &number }
        })
        .collect();
    page.line("");
    page.line(format_args!("{} {}", paint(DIM, "scale"), cells.concat()));
}
