//! From the last residual stream to the loss, and back: the final LayerNorm, the unembedding, the
//! objective.
//!
//! Only the P positions that carry loss are computed; r is the residual stream after the last block.
//!
//! ```text
//! y = LNf(r[loss positions])     logits = y·Wheadᵀ          L = objective(logits)
//! δ_logits = ∂L/∂logits          ∂y = δ_logits·Whead        δ[loss positions] = LNfᵇ(∂y), else 0
//! ```
//!
//! Whead is wte in a tied model. Its gradient from here is ∂Whead = δ_logitsᵀ·y.

use crate::objective::loss_and_delta;
use crate::ops::{LayerNorm, LayerNormGrad, layer_norm, layer_norm_backward, matmul, matmul_nt};
use retrograd_formats::{RequestError, ResolvedObjective};

/// The final LayerNorm and the unembedding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadWeights<'a> {
    /// `transformer.ln_f.weight` (D)
    pub ln_f_gamma: &'a [f64],
    /// `transformer.ln_f.bias` (D)
    pub ln_f_beta: &'a [f64],
    /// `lm_head.weight`, or `transformer.wte.weight` in a tied model (V, D)
    pub w_head: &'a [f64],
    /// D
    pub d: usize,
    /// V
    pub v: usize,
    /// ε of the LayerNorm.
    pub eps: f64,
}

/// Everything between the last block and the loss.
#[derive(Clone, Debug)]
pub(crate) struct HeadPass {
    /// y (P, D) and the statistics of LNf
    pub y: LayerNorm,
    /// (P, V)
    pub logits: Vec<f64>,
    /// L
    pub loss: f64,
    /// δ_logits (P, V)
    pub delta_logits: Vec<f64>,
    /// ∂γ and ∂β of LNf (D)
    pub ln_f: LayerNormGrad,
    /// δ (T, D): ∂L/∂r″ of the last block, zero at the positions without loss
    pub delta: Vec<f64>,
}

/// The forward half alone, for `rows` rows of `r` (rows, D): y (rows, D) and the logits (rows, V).
pub(crate) fn head_forward(w: &HeadWeights, r: &[f64], rows: usize) -> (LayerNorm, Vec<f64>) {
    let y = layer_norm(r, w.ln_f_gamma, w.ln_f_beta, rows, w.d, w.eps); // (rows, D)
    let logits = matmul_nt(&y.y, w.w_head, rows, w.v, w.d); // (rows, V)
    (y, logits)
}

/// Forward and backward for the residual stream `r` (T, D).
pub(crate) fn head_pass(
    w: &HeadWeights,
    r: &[f64],
    objective: &ResolvedObjective,
) -> Result<HeadPass, RequestError> {
    let (p, d) = (objective.count, w.d);
    let carrying_loss = objective.first_position * d..(objective.first_position + p) * d;
    let r_loss = &r[carrying_loss.clone()]; // (P, D)

    let (y, logits) = head_forward(w, r_loss, p); // (P, D), (P, V)
    let (loss, delta_logits) = loss_and_delta(objective, &logits, w.v)?; // (P, V)
    let d_y = matmul(&delta_logits, w.w_head, p, d, w.v); // (P, D)
    let ln_f = layer_norm_backward(&d_y, r_loss, w.ln_f_gamma, &y.mean, &y.rstd, p, d); // ∂r (P, D)
    let mut delta = vec![0.0; r.len()]; // (T, D)
    delta[carrying_loss].copy_from_slice(&ln_f.dx);

    Ok(HeadPass { y, logits, loss, delta_logits, ln_f, delta })
}
