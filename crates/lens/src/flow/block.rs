//! What one block computed at one position, as nodes and links.
//!
//! ```text
//! r ─LN1→ u → [q k v] → q_h → k_h(j) → v_h(j) → z_h → concat → W_O[i], b_O → attention ─┐
//! └──────────────────────────────────────────────────────────────────────────────────→ r′
//! r′ ─LN2→ m → W_1[:,i] → W_2[i] → MLP ─┐        m → b_1 → b_2 → MLP
//! └──────────────────────────────────→ r″
//! ```

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

    fn attention(&self, part: &mut Part) {
        let (p, d, factors) = (self.position, self.width(), &self.options.factors);
        let r = self.at(BlockSite::ResidPre, p);
        let u = self.at(BlockSite::CAttnInput, p);
        let silence = |mut z: Vec<f64>| {
            for head in (0..self.heads).filter(|&head| self.silenced(head)) {
                z[self.channels(head)].fill(0.0);
            }
            z
        };
        let z = silence(self.at(BlockSite::AttnProjInput, p));
        let w_qkv = Matrix::of(&self.weights.qkv);
        let w_o = Matrix::of(&self.weights.proj);
        let d_qkv = self.delta_at(BlockSite::CAttnDelta, p);
        let d_mid = self.delta_at(BlockSite::ResidMidDelta, p);
        let d_z = d_mid.as_ref().map(|delta| silence(w_o.right_product(delta, 0..d, 0..d))); // ∂o = δ′·W_Oᵀ
        let d_u = d_qkv.as_ref().map(|delta| w_qkv.right_product(delta, 0..d, 0..3 * d));

        let d_r = self.delta_at(BlockSite::ResidPreDelta, p);
        let input =
            part.node(self.here(NodeKind::BlockInput, "input", "input", gradient(&r, d_r.as_ref())), r);
        let block_input_norm = part.nodes[input].norm;
        let normed = self.here(NodeKind::AttentionInput, "attn.input", "ln_1", gradient(&u, d_u.as_ref()));
        let normed = part.node(normed, u.clone());
        part.link(input, normed, LinkKind::LayerNorm, block_input_norm);

        let qkv = sum(&w_qkv.left_product(&u, 0..d, 0..3 * d), &self.weights.qkv_bias);
        let all = self.here(NodeKind::Qkv, "attn.qkv", "q k v", gradient(&qkv, d_qkv.as_ref()));
        let all = {
            let at = part.node(all, qkv);
            part.vectors[at] = None;
            at
        };
        part.link(normed, all, LinkKind::Qkv, part.nodes[normed].norm);

        let outputs = self.heads_of_layer(part, all, &z, d_z.as_ref());
        let joined =
            self.here(NodeKind::ConcatenatedHeads, "attn.heads", "heads", gradient(&z, d_z.as_ref()));
        let written = w_o.left_product(&z, 0..d, 0..d);
        let joined = part.node(joined, written.clone());
        for output in outputs {
            let weight = factors.head_output * part.nodes[output].norm;
            part.link(output, joined, LinkKind::Concat, weight);
        }

        let out = sum(&written, &self.weights.proj_bias);
        let out_gradient = gradient(&out, d_mid.as_ref());
        let norms = w_o.row_norms();
        let strength: Vec<f64> = z.iter().zip(&norms).map(|(z, norm)| z * norm).collect();
        let counts = &self.options.counts;
        let mut writers = Vec::new();
        for i in strongest(&strength, counts.rows_top, counts.rows_bottom) {
            let mut row = self.here(
                NodeKind::ProjectionRow,
                &format!("attn.row.{i}"),
                &format!("W_O[{i}]"),
                scalar_gradient(z[i], d_z.as_ref().map(|d| d[i])),
            );
            (row.index, row.head, row.activation) = (Some(i), Some(i / self.d_head), Some(z[i]));
            row.bottom_first = z[i] < 0.0;
            let vector = if self.silenced(i / self.d_head) { vec![0.0; d] } else { wide(w_o.row(i)) };
            let row = part.node(row, vector);
            part.link(joined, row, LinkKind::IntoNeuron, factors.into_neuron);
            writers.push((row, strength[i].abs()));
        }
        let bias = &self.weights.proj_bias;
        let node = self.here(NodeKind::ProjectionBias, "attn.bias", "b_O", gradient(bias, d_mid.as_ref()));
        let bias = part.node(node, bias.clone());
        part.link(joined, bias, LinkKind::IntoNeuron, factors.into_neuron);
        writers.push((bias, part.nodes[bias].norm));

        let out =
            part.node(self.here(NodeKind::AttentionOutput, "attn.output", "attention", out_gradient), out);
        for (writer, weight) in writers {
            part.link(writer, out, LinkKind::Write, weight);
        }
        let r_mid = self.at(BlockSite::ResidMid, p);
        let mid =
            self.here(NodeKind::ResidualMid, "mid", "after attention", gradient(&r_mid, d_mid.as_ref()));
        let mid = part.node(mid, r_mid);
        part.link(out, mid, LinkKind::Residual, part.nodes[out].norm);
        part.link(input, mid, LinkKind::Residual, block_input_norm);
    }

    /// The strongest heads with their queries, keys and values; returns the nodes of their outputs.
    fn heads_of_layer(&self, part: &mut Part, all: usize, z: &[f64], d_z: Option<&Vec<f64>>) -> Vec<usize> {
        let (p, d, factors) = (self.position, self.width(), &self.options.factors);
        let w_qkv = Matrix::of(&self.weights.qkv);
        let norms: Vec<f64> = (0..self.heads).map(|head| norm(&z[self.channels(head)])).collect();
        let shown = self.options.counts.heads.unwrap_or(self.heads);
        let mut outputs = Vec::new();
        for head in strongest(&norms, shown, 0) {
            let name = |what: &str| format!("head.{head}.{what}");
            let label = |what: &str| format!("head {head} {what}");
            let q = self.project(Third::Query, head, p);
            let mut query = self.here(
                NodeKind::Query,
                &name("query"),
                &label("query"),
                gradient(&q, self.project_delta(Third::Query, head, p).as_ref()),
            );
            query.head = Some(head);
            // W_k,h·q_h: a score is u_j·(W_k,h·q_h), but for the key's bias.
            let query = part.node(query, w_qkv.right_product(&q, 0..d, self.columns(Third::Key, head)));
            part.link(all, query, LinkKind::Query, factors.query * part.nodes[query].norm);

            let z_h = &z[self.channels(head)];
            let written = self.written(head, z_h);
            let d_z_h = d_z.map(|d_z| d_z[self.channels(head)].to_vec());
            let mut values = Vec::new();
            for j in self.strongest_keys(head) {
                let (a, r) = (self.mixing(head, j), self.reversed(head, j));
                let mut key =
                    self.new_node(NodeKind::Key, &name(&format!("key.{j}")), &label("key"), Some(j));
                let k = self.project(Third::Key, head, j);
                key.head = Some(head);
                key.gradient = gradient(&k, self.project_delta(Third::Key, head, j).as_ref());
                // W_q,h·k_h: the same score seen from the other side.
                let key = part.node(key, w_qkv.right_product(&k, 0..d, self.columns(Third::Query, head)));
                let thick = (factors.attention * a.abs()).max(factors.attention_least);
                let link = part.link(query, key, LinkKind::Score, thick);
                (link.attention, link.reversed) = (Some(a), r);

                let mut value =
                    self.new_node(NodeKind::Value, &name(&format!("value.{j}")), &label("value"), Some(j));
                let v = self.project(Third::Value, head, j);
                value.head = Some(head);
                value.gradient = gradient(&v, self.project_delta(Third::Value, head, j).as_ref());
                let value = part.node(value, self.written(head, &v));
                let link = part.link(key, value, LinkKind::Attention, thick);
                (link.attention, link.reversed) = (Some(a), r);
                values.push((value, a, r));
            }
            let mut output = self.here(
                NodeKind::HeadOutput,
                &name("output"),
                &label("output"),
                gradient(z_h, d_z_h.as_ref()),
            );
            output.head = Some(head);
            let output = part.node(output, written);
            for (value, a, r) in values {
                let weight = (factors.value * a.abs() * part.nodes[value].norm).max(factors.attention_least);
                let link = part.link(value, output, LinkKind::Mix, weight);
                (link.attention, link.reversed) = (Some(a), r);
            }
            outputs.push(output);
        }
        outputs
    }

    /// The positions that a head attends to most, the most first.
    fn strongest_keys(&self, head: usize) -> Vec<usize> {
        let attention: Vec<f64> = (0..=self.position).map(|key| self.mixing(head, key).abs()).collect();
        strongest(&attention, self.options.counts.keys, 0)
    }

    fn reversed(&self, head: usize, key: usize) -> Option<f64> {
        self.map(self.backward.as_ref()?.first(), head, key)
    }

    fn mlp(&self, part: &mut Part) {
        let (p, d, factors) = (self.position, self.width(), &self.options.factors);
        let w_1 = Matrix::of(&self.weights.fc);
        let w_2 = Matrix::of(&self.weights.mlp);
        let inner = w_2.rows();
        let m = self.at(BlockSite::FcInput, p);
        let g = self.at(BlockSite::MlpProjInput, p);
        let d_f = self.delta_at(BlockSite::FcDelta, p);
        let delta = self.delta_at(BlockSite::ResidPostDelta, p);
        let d_m = d_f.as_ref().map(|d_f| w_1.right_product(d_f, 0..d, 0..inner)); // ∂m = ∂f·W_1ᵀ

        // The block's last node so far is r′.
        let mid = part.nodes.len() - 1;
        let mid_norm = part.nodes[mid].norm;
        let input = part
            .node(self.here(NodeKind::MlpInput, "mlp.input", "ln_2", gradient(&m, d_m.as_ref())), m.clone());
        part.link(mid, input, LinkKind::LayerNorm, mid_norm);

        let norms = w_2.row_norms();
        let strength: Vec<f64> = g.iter().zip(&norms).map(|(g, norm)| g * norm).collect();
        let counts = &self.options.counts;
        let mut writers = Vec::new();
        for i in strongest(&strength, counts.neurons_top, counts.neurons_bottom) {
            let column = w_1.column(i);
            let f = dot(&m, &column) + self.weights.fc_bias[i];
            let neuron = |kind, id: &str, label: &str, activation, gradient| {
                let id = format!("mlp.{id}.{i}");
                let label = format!("neuron {i} {label}");
                FlowNode {
                    index: Some(i),
                    activation: Some(activation),
                    bottom_first: g[i] < 0.0,
                    ..self.here(kind, &id, &label, gradient)
                }
            };
            let d_f = d_f.as_ref().map(|d_f| d_f[i]);
            let key = neuron(NodeKind::NeuronKey, "key", "key", f, scalar_gradient(f, d_f));
            let key = FlowNode { bottom_first: f < 0.0, ..key };
            let key = part.node(key, column);
            let value = wide(w_2.row(i));
            let d_g = delta.as_ref().map(|delta| dot(&value, delta)); // ∂g = δ·W_2ᵀ
            let value = part.node(
                neuron(NodeKind::NeuronValue, "value", "value", g[i], scalar_gradient(g[i], d_g)),
                value,
            );
            part.link(input, key, LinkKind::IntoNeuron, factors.into_neuron);
            part.link(key, value, LinkKind::Neuron, factors.neuron * g[i].abs());
            writers.push((value, strength[i].abs()));
        }
        let b_1 = &self.weights.fc_bias;
        let key_bias = self.here(NodeKind::MlpKeyBias, "mlp.key_bias", "b_1", gradient(b_1, d_f.as_ref()));
        let key_bias = part.node(key_bias, w_2.left_product(b_1, 0..inner, 0..d));
        let b_2 = &self.weights.mlp_bias;
        let bias = part.node(
            self.here(NodeKind::MlpBias, "mlp.bias", "b_2", gradient(b_2, delta.as_ref())),
            b_2.clone(),
        );
        part.link(input, key_bias, LinkKind::IntoNeuron, factors.into_neuron);
        part.link(key_bias, bias, LinkKind::BetweenBiases, factors.between_biases);
        writers.push((bias, part.nodes[bias].norm));

        let out = sum(&w_2.left_product(&g, 0..inner, 0..d), b_2);
        let out_gradient = gradient(&out, delta.as_ref());
        let out = part.node(self.here(NodeKind::MlpOutput, "mlp.output", "MLP", out_gradient), out);
        for (writer, weight) in writers {
            part.link(writer, out, LinkKind::Write, weight);
        }
        let r_post = self.at(BlockSite::ResidPost, p);
        let last = self.here(NodeKind::BlockOutput, "output", "output", gradient(&r_post, delta.as_ref()));
        let last = part.node(last, r_post);
        part.link(out, last, LinkKind::Residual, part.nodes[out].norm);
        part.link(mid, last, LinkKind::Residual, mid_norm);
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
