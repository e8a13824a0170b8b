//! Attention: from the residual stream through queries, keys and values to what the heads write.

use super::super::graph::{LinkKind, NodeKind};
use super::super::matrix::{Matrix, norm, sum, wide};
use super::{Block, Part, Third, gradient, scalar_gradient, strongest};
use retrograd_formats::BlockSite;

impl Block<'_> {
    pub(super) fn attention(&self, part: &mut Part) {
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
}
