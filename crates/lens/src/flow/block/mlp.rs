//! The MLP: neurons, biases, and the residual stream after them.

use super::super::graph::{FlowNode, LinkKind, NodeKind};
use super::super::matrix::{Matrix, dot, sum, wide};
use super::{Block, Part, gradient, scalar_gradient, strongest};
use retrograd_formats::BlockSite;

impl Block<'_> {
    pub(super) fn mlp(&self, part: &mut Part) {
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
