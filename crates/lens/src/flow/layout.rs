//! Where nodes are drawn: the columns are those of the block's computation, so that nothing has to be searched for.
//!
//! The residual stream runs along the top of a block; attention and MLP hang below it. Blocks stand in lines like words:
//! from left to right, the next line below.

use super::graph::{FlowNode, NodeKind};
use std::collections::BTreeMap;

/// From one column to the next.
const COLUMN: f64 = 150.0;
/// From one row to the next: a line of text.
const ROW: f64 = 24.0;
/// Between the stream and the highest node below it.
const GAP: f64 = 4.0 * ROW;
/// Columns of a block.
const COLUMNS: usize = 16;
/// Between the lines of blocks.
const LINE_GAP: f64 = 8.0 * ROW;
/// Width to height of the whole: about that of a window.
const ASPECT: f64 = 1.9;

/// The column of a kind within its block.
fn column(kind: NodeKind) -> usize {
    match kind {
        NodeKind::BlockInput => 0,
        NodeKind::AttentionInput => 1,
        NodeKind::Qkv => 2,
        NodeKind::Query => 3,
        NodeKind::Key => 4,
        NodeKind::Value => 5,
        NodeKind::HeadOutput => 6,
        NodeKind::ConcatenatedHeads => 7,
        NodeKind::ProjectionRow | NodeKind::ProjectionBias => 8,
        NodeKind::AttentionOutput => 9,
        NodeKind::ResidualMid => 10,
        NodeKind::MlpInput => 11,
        NodeKind::NeuronKey | NodeKind::MlpKeyBias => 12,
        NodeKind::NeuronValue | NodeKind::MlpBias => 13,
        NodeKind::MlpOutput => 14,
        NodeKind::BlockOutput => 15,
    }
}

/// Sets `x` and `y` of every node. Nodes come by layer; those of a column are stacked as they come, the nodes of a head
/// at the height of its keys.
pub(super) fn place(nodes: &mut [FlowNode]) {
    let blocks: Vec<&mut [FlowNode]> = nodes.chunk_by_mut(|a, b| a.layer == b.layer).collect();
    let tallest = blocks.iter().map(|block| height(block)).max().unwrap_or(0);
    let depth = GAP + tallest.saturating_sub(1) as f64 * ROW;
    let per_line = blocks_per_line(blocks.len(), depth + LINE_GAP);
    for (slot, block) in blocks.into_iter().enumerate() {
        place_block(block, (GAP + depth) / 2.0);
        let (across, down) = ((slot % per_line) as f64, (slot / per_line) as f64);
        for node in block {
            node.x += across * COLUMNS as f64 * COLUMN;
            node.y += down * (depth + LINE_GAP);
        }
    }
}

/// So many that the whole is about as wide as a window, and lines are about equally long.
fn blocks_per_line(blocks: usize, height: f64) -> usize {
    let width = COLUMNS as f64 * COLUMN;
    let ideal = (blocks as f64 * height * ASPECT / width).sqrt().round().max(1.0) as usize;
    let lines = blocks.div_ceil(ideal).max(1);
    blocks.div_ceil(lines).max(1)
}

/// Rows of the tallest column.
fn height(block: &[FlowNode]) -> usize {
    let count = |wanted: usize| block.iter().filter(|node| column(node.kind) == wanted).count();
    (0..COLUMNS).map(count).max().unwrap_or(0)
}

fn place_block(block: &mut [FlowNode], middle: f64) {
    let mut sizes = [0_usize; COLUMNS];
    let mut heads: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
    for node in block.iter() {
        sizes[column(node.kind)] += 1;
        if node.kind == NodeKind::Key
            && let Some(head) = node.head
        {
            heads.entry(head).or_insert((0.0, 0)).1 += 1;
        }
    }
    let row = |at: f64, of: usize| middle + (at - of.saturating_sub(1) as f64 / 2.0) * ROW;
    let mut next = [0_usize; COLUMNS];
    for node in block.iter_mut() {
        let column = column(node.kind);
        node.x = column as f64 * COLUMN;
        node.y = match node.kind {
            NodeKind::BlockInput | NodeKind::ResidualMid | NodeKind::BlockOutput => 0.0,
            _ => row(next[column] as f64, sizes[column]),
        };
        next[column] += 1;
        if node.kind == NodeKind::Key
            && let Some(group) = node.head.and_then(|head| heads.get_mut(&head))
        {
            group.0 += node.y / group.1 as f64;
        }
    }
    for node in block.iter_mut().filter(|node| matches!(node.kind, NodeKind::Query | NodeKind::HeadOutput)) {
        if let Some((centre, _)) = node.head.and_then(|head| heads.get(&head)) {
            node.y = *centre;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::blocks_per_line;

    #[test]
    fn lines_of_blocks_are_about_equally_long() {
        let height = 888.0;
        assert_eq!(blocks_per_line(1, height), 1);
        assert_eq!(blocks_per_line(2, height), 1);
        assert_eq!(blocks_per_line(4, height), 2);
        assert_eq!(blocks_per_line(12, height), 3);
        assert_eq!(blocks_per_line(48, height), 6);
        assert_eq!(blocks_per_line(0, height), 1);
    }
}
