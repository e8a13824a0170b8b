//! AdamW in the order in which torch.optim.AdamW carries it out.

/// Settings of one [`adamw_step`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment, after its bias correction.
    pub eps: f64,
    /// Decoupled weight decay of this tensor; 0 for those that have none.
    pub weight_decay: f64,
    /// The step's number s, counted from 1.
    pub step: u32,
}

/// `θ ← θ·(1 − lr·wd)`, `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`,
/// `θ ← θ − lr·(m/(1−β₁ˢ)) / (√(v/(1−β₂ˢ)) + ε)`.
///
/// `param` (θ), `grad` (g) and the moments `m` and `v` have the same length; the moments start at 0.
pub fn adamw_step(param: &mut [f64], grad: &[f64], m: &mut [f64], v: &mut [f64], options: AdamW) {
    let AdamW { lr, beta1, beta2, eps, weight_decay, step } = options;
    assert_eq!((grad.len(), m.len(), v.len()), (param.len(), param.len(), param.len()), "adamw_step");
    let correction1 = 1.0 - beta1.powf(f64::from(step));
    let correction2 = 1.0 - beta2.powf(f64::from(step));
    for (((param, &g), m), v) in param.iter_mut().zip(grad).zip(m).zip(v) {
        *param *= 1.0 - lr * weight_decay;
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        *param -= lr * (*m / correction1) / ((*v / correction2).sqrt() + eps);
    }
}
