//! The page that `retrograd flow` prints: what each layer reads, which heads and neurons act, what they write.

use super::number::{count, percent, short};
use super::page::{Page, columns, fit, paint};
use super::style::{BOLD, DIM, GOOD, LOWERS, RAISES};
use super::trace::{quoted, token_label, token_name, tokens};
use retrograd::lens::{FlowNode, FlowReport, LinkKind, NodeKind, Prediction};

/// Heads and neurons that a layer lists; the document has all.
const SHOWN: usize = 4;
/// Tokens of a reading.
const TOKENS: usize = 5;
/// Columns of a node's name, and of each number.
const NAME: usize = 20;
const NUMBER: usize = 9;

/// Tokens, the target, and a section a layer.
pub(crate) fn flow(page: &mut Page, report: &FlowReport) {
    tokens(page, &report.tokens);
    let at = report.tokens.get(report.position).map(|token| token_label(token, report.position));
    page.heading("Flow", &format!("through {}", at.unwrap_or_default()));
    let mut line = format!(
        "  {} nodes, {} links; the model answers {} with {}",
        count(report.nodes.len()),
        count(report.links.len()),
        quoted(&report.answer.token),
        percent(report.answer.probability)
    );
    if let Some(target) = report.target.as_ref().filter(|target| target.token.id != report.answer.token.id) {
        let (name, p) = (quoted(&target.token), percent(target.probability));
        line += &format!("; target {name} with {p}, rank {}", count(target.rank));
    }
    page.line(line);
    let gradient = report.nodes.iter().any(|node| node.gradient.is_some());
    if gradient {
        page.remark(
            "On the loss: its change to first order for each part by which a node grows. Readings: the most probable \
             tokens, or after − the least probable, which a negative activation writes.",
        );
    }
    for &layer in &report.layers {
        section(page, report, layer, gradient);
    }
}

fn section(page: &mut Page, report: &FlowReport, layer: usize, gradient: bool) {
    page.heading(&format!("Layer {layer}"), "");
    let on_loss = if gradient { "on loss" } else { "" };
    page.line(paint(
        DIM,
        format_args!("  {:NAME$} {:>NUMBER$} {:>NUMBER$} {:>8}  reads as", "", "‖·‖", on_loss, "rank"),
    ));
    let nodes: Vec<&FlowNode> = report.nodes.iter().filter(|node| node.layer == layer).collect();
    let of = |kind: NodeKind| nodes.iter().copied().filter(move |node| node.kind == kind);
    let each = |page: &mut Page, kind: NodeKind, name: &str| {
        for node in of(kind) {
            row(page, node, name);
        }
    };
    each(page, NodeKind::BlockInput, "in");
    for node in of(NodeKind::HeadOutput).take(SHOWN) {
        row(page, node, &format!("head {}{}", node.head.unwrap_or(0), sources(report, node)));
    }
    each(page, NodeKind::AttentionOutput, "attention");
    each(page, NodeKind::ResidualMid, "after attention");
    for node in of(NodeKind::NeuronValue).take(SHOWN) {
        row(page, node, &neuron(node));
    }
    if let Some(node) = of(NodeKind::NeuronValue).find(|node| node.bottom_first) {
        row(page, node, &neuron(node));
    }
    each(page, NodeKind::MlpOutput, "MLP");
    each(page, NodeKind::BlockOutput, "out");
}

/// Where a head's values come from, the most attended first.
fn sources(report: &FlowReport, head: &FlowNode) -> String {
    let keys: Vec<String> = report
        .links
        .iter()
        .filter(|link| link.kind == LinkKind::Mix && link.target == head.id)
        .filter_map(|link| report.nodes.iter().find(|node| node.id == link.source)?.position)
        .filter_map(|position| report.tokens.get(position).map(token_name))
        .collect();
    if keys.is_empty() { String::new() } else { format!(" ← {}", keys.join(" ")) }
}

fn neuron(node: &FlowNode) -> String {
    let activation = node.activation.map_or(String::new(), |g| format!(" at {}", short(g)));
    format!("neuron {}{activation}", node.index.unwrap_or(0))
}

fn row(page: &mut Page, node: &FlowNode, name: &str) {
    let (style, effect) = match node.gradient {
        Some(gradient) if gradient.inner > 0.0 => (RAISES, format!("+{}", short(gradient.inner))),
        Some(gradient) => (LOWERS, short(gradient.inner)),
        None => (DIM, String::new()),
    };
    let rank = node.target_rank.map_or(String::new(), count);
    let rank = match node.target_rank {
        Some(0) => paint(GOOD, format_args!("{rank:>8}")),
        _ => format!("{rank:>8}"),
    };
    let room = page.width().saturating_sub(NAME + 2 * NUMBER + 15);
    page.line(format_args!(
        "  {} {:>NUMBER$} {} {rank}  {}",
        paint(BOLD, fit(name, NAME)),
        short(node.norm),
        paint(style, format_args!("{effect:>NUMBER$}")),
        reading(node, room),
    ));
}

/// As many tokens as fit.
fn reading(node: &FlowNode, room: usize) -> String {
    let (sign, list) = if node.bottom_first { ("− ", &node.bottom) } else { ("", &node.top) };
    let mut text = sign.to_owned();
    for Prediction { token, .. } in list.iter().take(TOKENS) {
        let name = quoted(token);
        if columns(&text) + columns(&name) > room {
            break;
        }
        text += &name;
        text.push(' ');
    }
    text
}
