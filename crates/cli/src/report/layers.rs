//! How strong the backward signal is in each layer.

use super::bar::bar;
use super::number::short;
use super::page::{Page, paint};
use super::style::{BAR, DIM};
use retrograd::lens::LayerNorms;

/// A table of ‖δ‖ by layer with a bar for the residual stream.
pub(crate) fn layers(page: &mut Page, layers: &[LayerNorms]) {
    if layers.is_empty() {
        return;
    }
    page.heading("Backward signal", "‖δ‖ at the output of each linear layer, and as it leaves the block");
    let roomy = page.width() >= 6 + 13 * 5;
    let (column, titles) = if roomy {
        (13, ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "residual"])
    } else {
        (10, ["c_attn", "a.c_proj", "c_fc", "m.c_proj", "residual"])
    };
    let header: String = titles.iter().map(|title| format!("{title:>column$}")).collect();
    page.line(paint(DIM, format_args!("{:>6}{header}", "layer")));
    let residual = |layer: &LayerNorms| layer.delta_norms.resid_pre.or(layer.delta_norms.mlp_proj);
    let max = layers.iter().filter_map(residual).fold(0.0, f64::max);
    // 6 columns for the layer, 2 before the bar.
    let width = page.width().saturating_sub(6 + column * titles.len() + 2).min(30);
    for layer in layers {
        let norms = &layer.delta_norms;
        let numbers: String = [norms.c_attn, norms.attn_proj, norms.c_fc, norms.mlp_proj, norms.resid_pre]
            .map(|norm| format!("{:>column$}", norm.map_or("-".to_owned(), short)))
            .concat();
        let share = residual(layer).map_or(0.0, |norm| norm / max);
        page.line(format_args!("{:>6}{numbers}  {}", layer.layer, paint(BAR, bar(share, width))));
    }
}
