//! The gradient of the loss in every parameter, put together from the factors of a pass.

use crate::model::{Pass, ReferenceModel};
use crate::ops::{column_sum, embedding_backward, matmul_tn};
use crate::parameters::{LN_F_BIAS, LN_F_WEIGHT, WPE, WTE, in_block};
use retrograd_formats::{
    Config, Interventions, Objective, RequestError, ResolvedObjective, TokenId, TraceRequest,
};
use std::collections::BTreeMap;

/// ∂L/∂parameter by the parameter's HF name, row-major, with the parameter's shape. A tied embedding
/// stands once, as `transformer.wte.weight`, with both of its contributions.
pub type Gradients = BTreeMap<String, Vec<f64>>;

impl ReferenceModel {
    /// The loss of a request, and its gradient in every parameter.
    ///
    /// An ablated head's rows of `attn.c_proj.weight` have a gradient too: the one at their value 0.
    ///
    /// # Errors
    /// When the request does not fit the model.
    pub fn weight_gradients(&self, request: &TraceRequest) -> Result<(f64, Gradients), RequestError> {
        let objective = request.resolve(self.config())?;
        let mut gradients = self.zero_gradients();
        let pass = self.pass(&request.ids, &objective, &request.interventions)?;
        self.accumulate(&mut gradients, &request.ids, &pass, 1.0);
        Ok((pass.head.loss, gradients))
    }

    /// The loss of a training batch, the mean over all its positions, and its gradient in every
    /// parameter.
    ///
    /// Each element of `batch` is a sequence: its inputs and, of the same length, its targets. In
    /// sequential order, row b of step s takes tokens `[(s·B+b)·T, (s·B+b)·T+T)` of the text as inputs
    /// and those one further as targets. Sequences are independent: positions start from 0 in each.
    ///
    /// # Errors
    /// When the batch is empty, a sequence has no or too many tokens or as many targets as not, or an
    /// id is outside the vocabulary.
    pub fn gradients(
        &self,
        batch: &[(Vec<TokenId>, Vec<TokenId>)],
    ) -> Result<(f64, Gradients), RequestError> {
        let positions: usize = batch.iter().map(|(inputs, _)| inputs.len()).sum();
        if positions == 0 {
            return Err(RequestError::invalid("batch", "has no tokens"));
        }
        let (mut loss, mut gradients) = (0.0, self.zero_gradients());
        for (inputs, targets) in batch {
            let objective = self.every_position(inputs, targets)?;
            let pass = self.pass(inputs, &objective, &Interventions::default())?;
            let share = inputs.len() as f64 / positions as f64;
            loss += share * pass.head.loss;
            self.accumulate(&mut gradients, inputs, &pass, share);
        }
        Ok((loss, gradients))
    }

    /// The objective of training: a given target at each position.
    fn every_position(
        &self,
        inputs: &[TokenId],
        targets: &[TokenId],
    ) -> Result<ResolvedObjective, RequestError> {
        if inputs.len() != targets.len() {
            return Err(RequestError::invalid(
                "batch",
                format!("{} inputs cannot have {} targets", inputs.len(), targets.len()),
            ));
        }
        // Resolving checks the ids; of the targets it is enough to check the largest.
        let largest = targets.iter().copied().max().unwrap_or(TokenId(0));
        TraceRequest::new(inputs.to_vec(), Objective::Target(largest)).resolve(self.config())?;
        Ok(ResolvedObjective {
            first_position: 0,
            count: inputs.len(),
            targets: targets.to_vec(),
            objective: Objective::NextToken,
        })
    }

    /// A zero for each parameter.
    fn zero_gradients(&self) -> Gradients {
        self.parameters().iter().map(|(name, values)| (name.clone(), vec![0.0; values.len()])).collect()
    }

    /// Adds `share` times the gradients of a pass over `ids`.
    fn accumulate(&self, gradients: &mut Gradients, ids: &[TokenId], pass: &Pass, share: f64) {
        let Config { n_embd: d, n_inner: i, n_layer, n_positions, vocab_size: v, .. } = *self.config();
        let t = ids.len();
        let mut add = |name: &str, gradient: &[f64]| {
            if let Some(sum) = gradients.get_mut(name) {
                for (sum, gradient) in sum.iter_mut().zip(gradient) {
                    *sum += share * gradient;
                }
            }
        };

        // Each linear layer y = xW + b: ∂W = xᵀδ, ∂b = Σ_t δ_t.
        for layer in 0..n_layer {
            let (forward, backward) = (&pass.forward[layer], &pass.backward[layer]);
            let linear_layers = [
                ("attn.c_attn", &forward.u.y, d, &backward.attention.d_qkv, 3 * d),
                ("attn.c_proj", &forward.attention.out, d, &backward.delta_mid, d),
                ("mlp.c_fc", &forward.m.y, d, &backward.d_f, i),
                ("mlp.c_proj", &forward.g, i, &backward.delta, d),
            ];
            for (name, x, d_in, delta, d_out) in linear_layers {
                let name = in_block(layer, name);
                add(&format!("{name}.weight"), &matmul_tn(x, delta, d_in, d_out, t)); // (in, out)
                add(&format!("{name}.bias"), &column_sum(delta, t, d_out)); // (out)
            }
            for (name, ln) in [("ln_1", &backward.ln_1), ("ln_2", &backward.ln_2)] {
                let name = in_block(layer, name);
                add(&format!("{name}.weight"), &ln.dgamma); // (D)
                add(&format!("{name}.bias"), &ln.dbeta); // (D)
            }
        }

        // The head: ∂Whead = δ_logitsᵀ·y. In a tied model this is the first contribution to wte.
        let head = &pass.head;
        let p = head.y.mean.len();
        add(LN_F_WEIGHT, &head.ln_f.dgamma); // (D)
        add(LN_F_BIAS, &head.ln_f.dbeta); // (D)
        add(self.named().head_name(), &matmul_tn(&head.delta_logits, &head.y.y, v, d, p)); // (V, D)

        // The lookup: rows of δ₀ summed by token and by position.
        let tokens: Vec<u32> = ids.iter().map(|id| id.0).collect(); // (T)
        let (d_wte, d_wpe) = embedding_backward(&tokens, &pass.delta_embedding, v, n_positions, d);
        add(WTE, &d_wte); // (V, D)
        add(WPE, &d_wpe); // (n_positions, D)
    }
}
