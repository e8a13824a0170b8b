//! What one block computed at one position, as nodes and links.
//!
//! ```text
//! r ─LN1→ u → [q k v] → q_h → k_h(j) → v_h(j) → z_h → concat → W_O[i], b_O → attention ─┐
//! └──────────────────────────────────────────────────────────────────────────────────→ r′
//! r′ ─LN2→ m → W_1[:,i] → W_2[i] → MLP ─┐        m → b_1 → b_2 → MLP
//! └──────────────────────────────────→ r″
//! ```

mod attention;
mod mlp;

use super::graph::{FlowLink, FlowNode, LinkKind, NodeGradient, NodeKind};
use super::matrix::{Matrix, dot, norm, sum, wide};
use super::options::FlowOptions;
use retrograd_formats::{BlockSite, Head, HostTensor, Layer, ParameterRead, RequestError, Site, TraceRead};
use std::ops::Range;

/// The sites of a block's forward pass that the graph is made of.
pub(super) const FORWARD: [BlockSite; 8] = [
    BlockSite::Pattern,
    BlockSite::CAttnInput,
    BlockSite::AttnProjInput,
    BlockSite::FcInput,
    BlockSite::MlpProjInput,
    BlockSite::ResidPre,
    BlockSite::ResidMid,
    BlockSite::ResidPost,
];

/// Those of its backward pass.
pub(super) const BACKWARD: [BlockSite; 6] = [
    BlockSite::Reversed,
    BlockSite::CAttnDelta,
    BlockSite::FcDelta,
    BlockSite::ResidPreDelta,
    BlockSite::ResidMidDelta,
    BlockSite::ResidPostDelta,
];

/// The part of a graph that a block makes.
#[derive(Default)]
pub(super) struct Part {
    pub(super) nodes: Vec<FlowNode>,
    /// What is read in the vocabulary, a vector a node; `None` for a node that has none.
    pub(super) vectors: Vec<Option<Vec<f64>>>,
    pub(super) links: Vec<FlowLink>,
}

/// Everything about a block that the graph needs, on the host.
struct Block<'a> {
    options: &'a FlowOptions,
    layer: usize,
    position: usize,
    heads: usize,
    d_head: usize,
    weights: Weights,
    forward: Vec<HostTensor>,
    backward: Option<Vec<HostTensor>>,
}

struct Weights {
    qkv: HostTensor,     // (D, 3D)
    qkv_bias: Vec<f64>,  // (3D)
    proj: HostTensor,    // (D, D)
    proj_bias: Vec<f64>, // (D)
    fc: HostTensor,      // (D, I)
    fc_bias: Vec<f64>,   // (I)
    mlp: HostTensor,     // (I, D)
    mlp_bias: Vec<f64>,  // (D)
}

/// Which D columns of [q k v].
#[derive(Clone, Copy)]
enum Third {
    Query,
    Key,
    Value,
}

/// Makes the nodes and links of a block.
pub(super) fn block(
    trace: &dyn TraceRead,
    model: &dyn ParameterRead,
    options: &FlowOptions,
    layer: usize,
    position: usize,
) -> Result<Part, RequestError> {
    let parameter = |name: &str| model.parameter(&format!("transformer.h.{layer}.{name}"));
    let bias = |name: &str| Ok::<_, RequestError>(wide(parameter(name)?.as_f32()));
    let config = &trace.meta().config;
    let sites: Vec<Site> = FORWARD
        .into_iter()
        .chain(BACKWARD.into_iter().filter(|_| options.gradient))
        .map(|site| Site::Block(Layer(layer), site))
        .collect();
    let mut forward = trace.read_all(&sites)?;
    let backward = forward.split_off(FORWARD.len());
    let block = Block {
        options,
        layer,
        position,
        heads: config.n_head,
        d_head: config.head_dim(),
        weights: Weights {
            qkv: parameter("attn.c_attn.weight")?,
            qkv_bias: bias("attn.c_attn.bias")?,
            proj: parameter("attn.c_proj.weight")?,
            proj_bias: bias("attn.c_proj.bias")?,
            fc: parameter("mlp.c_fc.weight")?,
            fc_bias: bias("mlp.c_fc.bias")?,
            mlp: parameter("mlp.c_proj.weight")?,
            mlp_bias: bias("mlp.c_proj.bias")?,
        },
        forward,
        backward: options.gradient.then_some(backward),
    };
    let mut part = Part::default();
    block.attention(&mut part);
    block.mlp(&mut part);
    Ok(part)
}

impl Part {
    fn node(&mut self, node: FlowNode, vector: Vec<f64>) -> usize {
        let norm = norm(&vector);
        self.nodes.push(FlowNode { norm, ..node });
        self.vectors.push(Some(vector));
        self.nodes.len() - 1
    }

    fn link(&mut self, source: usize, target: usize, kind: LinkKind, weight: f64) -> &mut FlowLink {
        let (source, target) = (self.nodes[source].id.clone(), self.nodes[target].id.clone());
        let at = self.links.len();
        self.links.push(FlowLink { source, target, kind, weight, attention: None, reversed: None });
        &mut self.links[at]
    }
}

impl Block<'_> {
    /// One position's row of a site of the forward pass, in f64.
    fn at(&self, site: BlockSite, position: usize) -> Vec<f64> {
        let tensor = FORWARD.iter().position(|have| *have == site).and_then(|at| self.forward.get(at));
        row(tensor, position)
    }

    /// The same of the backward pass; `None` without gradient.
    fn delta_at(&self, site: BlockSite, position: usize) -> Option<Vec<f64>> {
        let backward = self.backward.as_ref()?;
        let tensor = BACKWARD.iter().position(|have| *have == site).and_then(|at| backward.get(at));
        Some(row(tensor, position))
    }

    /// An entry of a head's map in the row of the position that is shown.
    fn map(&self, maps: Option<&HostTensor>, head: usize, key: usize) -> Option<f64> {
        let maps = maps?;
        let tokens = maps.shape.last().copied().unwrap_or(0);
        maps.as_f32().get((head * tokens + self.position) * tokens + key).copied().map(f64::from)
    }

    /// What multiplies v: A, or A + αM where it is patched.
    fn mixing(&self, head: usize, key: usize) -> f64 {
        let pattern = self.map(self.forward.first(), head, key).unwrap_or(0.0);
        let Some(patch) = &self.options.interventions.patch else { return pattern };
        let chosen = |heads: &std::collections::BTreeSet<Head>| heads.contains(&self.head(head));
        if !patch.heads.as_ref().is_none_or(chosen) {
            return pattern;
        }
        let tokens = self.forward.first().and_then(|a| a.shape.last().copied()).unwrap_or(0);
        let at = (head * tokens + self.position) * tokens + key;
        let added = patch.maps.get(&self.layer).and_then(|map| map.get(at)).copied().unwrap_or(0.0);
        // As the device adds it, in f32.
        f64::from(pattern as f32 + patch.alpha * added)
    }

    fn head(&self, head: usize) -> Head {
        Head { layer: self.layer, head }
    }

    fn silenced(&self, head: usize) -> bool {
        self.options.interventions.ablate.contains(&self.head(head))
    }

    /// z_h·W_O,h, which is 0 for a silenced head.
    fn written(&self, head: usize, z: &[f64]) -> Vec<f64> {
        let d = self.width();
        match self.silenced(head) {
            true => vec![0.0; d],
            false => Matrix::of(&self.weights.proj).left_product(z, self.channels(head), 0..d),
        }
    }

    /// D
    fn width(&self) -> usize {
        self.heads * self.d_head
    }

    /// The channels of a head among D.
    fn channels(&self, head: usize) -> Range<usize> {
        head * self.d_head..(head + 1) * self.d_head
    }

    /// The columns of a head's q, k or v among 3D.
    fn columns(&self, third: Third, head: usize) -> Range<usize> {
        let first = third as usize * self.width() + head * self.d_head;
        first..first + self.d_head
    }

    /// q_h, k_h or v_h of a position: u·W + b.
    fn project(&self, third: Third, head: usize, position: usize) -> Vec<f64> {
        let columns = self.columns(third, head);
        let u = self.at(BlockSite::CAttnInput, position);
        let product = Matrix::of(&self.weights.qkv).left_product(&u, 0..self.width(), columns.clone());
        sum(&product, &self.weights.qkv_bias[columns])
    }

    /// ∂L by q_h, k_h or v_h of a position.
    fn project_delta(&self, third: Third, head: usize, position: usize) -> Option<Vec<f64>> {
        Some(self.delta_at(BlockSite::CAttnDelta, position)?[self.columns(third, head)].to_vec())
    }

    fn new_node(&self, kind: NodeKind, id: &str, label: &str, position: Option<usize>) -> FlowNode {
        FlowNode {
            id: format!("L{}.{id}", self.layer),
            kind,
            layer: self.layer,
            head: None,
            index: None,
            position,
            label: format!("L{} {label}", self.layer),
            activation: None,
            norm: 0.0,
            bottom_first: false,
            top: Vec::new(),
            bottom: Vec::new(),
            target_rank: None,
            target_probability: None,
            entropy_bits: None,
            gradient: None,
            x: 0.0,
            y: 0.0,
        }
    }

    /// A node of the position that is shown, with its gradient where there is one.
    fn here(&self, kind: NodeKind, id: &str, label: &str, gradient: Option<NodeGradient>) -> FlowNode {
        FlowNode { gradient, ..self.new_node(kind, id, label, Some(self.position)) }
    }
}

fn row(tensor: Option<&HostTensor>, position: usize) -> Vec<f64> {
    let Some(tensor) = tensor else { return Vec::new() };
    let width = tensor.shape.last().copied().unwrap_or(1).max(1);
    wide(tensor.as_f32().chunks_exact(width).nth(position).unwrap_or_default())
}

fn gradient(node: &[f64], delta: Option<&Vec<f64>>) -> Option<NodeGradient> {
    delta.map(|delta| NodeGradient { norm: norm(delta), inner: dot(node, delta) })
}

fn scalar_gradient(activation: f64, delta: Option<f64>) -> Option<NodeGradient> {
    delta.map(|delta| NodeGradient { norm: delta.abs(), inner: activation * delta })
}

/// The indices of the `top` largest values, the largest first, then of the `bottom` smallest among the others, the
/// smallest first; of equals the lower index first.
fn strongest(values: &[f64], top: usize, bottom: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    let mut rest = order.split_off(top.min(order.len()));
    rest.sort_by(|&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
    order.extend(rest.into_iter().take(bottom));
    order
}

#[cfg(test)]
mod tests {
    use super::strongest;

    #[test]
    fn both_ends_without_an_index_twice() {
        let values = [0.5, -2.0, 0.5, 3.0, -0.1];
        assert_eq!(strongest(&values, 2, 2), [3, 0, 1, 4]);
        assert_eq!(strongest(&values, 4, 3), [3, 0, 2, 4, 1]);
        assert_eq!(strongest(&values, 0, 1), [1]);
        assert_eq!(strongest(&values, 9, 9), [3, 0, 2, 4, 1]);
    }
}
