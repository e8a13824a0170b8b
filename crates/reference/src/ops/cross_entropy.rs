//! The loss and the δ that starts the backward pass.

use super::{log_sum_exp, softmax};

/// What [`cross_entropy`] returns.
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    /// The mean loss over the positions, in nats.
    pub loss: f64,
    /// ∂loss/∂logits `[p, v]`
    pub delta: Vec<f64>,
}

/// `loss = mean_i(−log softmax(logits_i)[target_i])`, `δ_i = (softmax(logits_i) − onehot(target_i))/p`.
///
/// `logits` is `[p, v]`, `targets` is `[p]`.
pub fn cross_entropy(logits: &[f64], targets: &[u32], p: usize, v: usize) -> CrossEntropy {
    assert_eq!((logits.len(), targets.len()), (p * v, p), "cross_entropy: [{p}, {v}]");
    let n = p as f64;
    let mut loss = 0.0;
    let mut delta = Vec::with_capacity(p * v);
    for (logits, &target) in logits.chunks_exact(v).zip(targets) {
        let target = target as usize;
        loss += (log_sum_exp(logits) - logits[target]) / n;
        let first = delta.len();
        delta.extend(softmax(logits).iter().map(|p| p / n));
        delta[first + target] -= 1.0 / n;
    }
    CrossEntropy { loss, delta }
}
