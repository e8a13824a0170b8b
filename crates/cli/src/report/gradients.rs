//! The weight gradients on the page of `retrograd lens --report`.

use super::number::{percent, short};
use super::page::{Page, fit, paint};
use super::style::{DIM, heat};
use super::trace::{token_label, token_name};
use retrograd::lens::{DeltaSimilarity, GradientReport, MatrixGradient, TokenText};

/// Layers across a table of cosines, at most: a column takes five characters.
const LAYERS_ACROSS: usize = 18;

/// A line a matrix, then how alike δ is from layer to layer.
pub(crate) fn gradients(page: &mut Page, report: &GradientReport, tokens: &[TokenText]) {
    page.heading(
        "Weight gradients",
        "rank of xᵀδ; share of the strongest position in Σ ‖x‖·‖δ‖; what its x or −δ reads as",
    );
    page.line(paint(
        DIM,
        format_args!(
            "  {:<15} {:>9} {:>5} {:>9}  {:22} reads as",
            "", "‖∂W‖", "rank", "σ₁/‖∂W‖", "strongest position"
        ),
    ));
    // 66 columns stand before the tokens.
    let room = page.width().saturating_sub(66).max(12);
    for gradient in &report.matrices {
        page.line(line(gradient, tokens, room));
    }
    if let Some(last) = report.similarities.last() {
        cosines(page, last, tokens);
    }
}

fn line(gradient: &MatrixGradient, tokens: &[TokenText], room: usize) -> String {
    let total: f64 = gradient.contributions.iter().sum();
    let strongest = gradient.contributions.get(gradient.strongest).copied().unwrap_or(0.0);
    let share = if total > 0.0 { strongest / total } else { 0.0 };
    let place =
        tokens.get(gradient.strongest).map(|t| token_label(t, gradient.strongest)).unwrap_or_default();
    let first = gradient.singular_values.first().copied().unwrap_or(0.0);
    // A single singular value is the norm, but for rounding.
    let share_of_first = |norm: f64| if first > norm * (1.0 - 1e-6) { 1.0 } else { first / norm };
    let concentration =
        if gradient.norm > 0.0 { percent(share_of_first(gradient.norm)) } else { "-".to_owned() };
    let factor = if gradient.read == "x" { "x " } else { "−δ" };
    let read: Vec<String> = gradient.tokens.iter().map(|p| token_name(&p.token)).collect();
    format!(
        "  {} {:>9} {:>5} {:>9}  {} {factor} {}",
        fit(&format!("L{} {}", gradient.layer, gradient.matrix), 15),
        short(gradient.norm),
        gradient.rank,
        concentration,
        fit(&format!("{} {}", percent(share), place), 22),
        fit(&read.join("  "), room),
    )
}

fn cosines(page: &mut Page, similarity: &DeltaSimilarity, tokens: &[TokenText]) {
    let place =
        tokens.get(similarity.position).map(|t| token_label(t, similarity.position)).unwrap_or_default();
    page.heading(
        &format!("Likeness of δ at {}", similarity.matrix),
        &format!("cosines between layers at {place}; all of them in --json"),
    );
    // Of a deep model every so many layers.
    let every = similarity.cosines.len().div_ceil(LAYERS_ACROSS).max(1);
    let shown: Vec<usize> = (0..similarity.cosines.len()).step_by(every).collect();
    let titles: String = shown.iter().map(|layer| format!("{:>5}", format!("L{layer}"))).collect();
    page.line(format_args!("     {}", paint(DIM, titles)));
    for &layer in &shown {
        let cells: String = shown
            .iter()
            .map(|&other| {
                let cosine = similarity.cosines[layer][other];
                paint(heat(cosine.max(0.0), true), format_args!("{cosine:>5.2}"))
            })
            .collect();
        page.line(format_args!("{} {cells}", paint(DIM, format_args!("{:>4}", format!("L{layer}")))));
    }
}
