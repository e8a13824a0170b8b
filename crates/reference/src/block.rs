//! One transformer block, forward and backward.
//!
//! Row vectors, `y = xW + b`; T tokens, width D, H heads of d = D/H, MLP width I. r is the residual
//! stream, δ = ∂L/∂r″ what arrives from above.
//!
//! Forward:
//!
//! ```text
//! u = LN1(r)                              [q k v] = u·Wqkv + bqkv
//! S = q·kᵀ/√d (causal)                    A = softmax(S)       o = A·v          (each head)
//! r′ = r + concat(o)·Wo + bo
//! m = LN2(r′)           f = m·W1 + b1     g = gelu_new(f)
//! r″ = r′ + g·W2 + b2
//! ```
//!
//! Backward; LNᵇ is the backward of the LayerNorm:
//!
//! ```text
//! ∂g = δ·W2ᵀ            ∂f = ∂g ⊙ gelu′(f)
//! ∂m = ∂f·W1ᵀ           δ′ = δ + LN2ᵇ(∂m)
//! ∂o = δ′·Woᵀ
//! E = ∂o·vᵀ             R = A ⊙ (E − rowsum(A ⊙ E))/√d                          (each head)
//! ∂q = R·k              ∂k = Rᵀ·q         ∂v = Aᵀ·∂o                           (each head)
//! ∂u = [∂q ∂k ∂v]·Wqkvᵀ                   δ_next = δ′ + LN1ᵇ(∂u)
//! ```
//!
//! Under an attention patch A′ = A + α·M stands in o = A′·v and ∂v = A′ᵀ·∂o, and A everywhere else;
//! an ablated head's rows of Wo are zero in both directions.
//!
//! The weight gradients are products of what stands here: ∂W2 = gᵀδ, ∂W1 = mᵀ∂f, ∂Wo = concat(o)ᵀδ′,
//! ∂Wqkv = uᵀ[∂q ∂k ∂v].

use crate::intervention::BlockChange;
use crate::ops::{
    Attention, AttentionGrad, LayerNorm, LayerNormGrad, add, attention, attention_backward, gelu_new,
    gelu_new_derivative, layer_norm, layer_norm_backward, linear, matmul_nt,
};

/// The sizes that a block's functions need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockShape {
    /// T, tokens.
    pub t: usize,
    /// D, width.
    pub d: usize,
    /// H, heads.
    pub h: usize,
    /// I, width of the MLP.
    pub i: usize,
    /// ε of the LayerNorms.
    pub eps: f64,
}

/// A block's parameters, in the order of the forward pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockWeights<'a> {
    /// `ln_1.weight` (D)
    pub ln_1_gamma: &'a [f64],
    /// `ln_1.bias` (D)
    pub ln_1_beta: &'a [f64],
    /// `attn.c_attn.weight` (D, 3D)
    pub w_qkv: &'a [f64],
    /// `attn.c_attn.bias` (3D)
    pub b_qkv: &'a [f64],
    /// `attn.c_proj.weight` (D, D)
    pub w_o: &'a [f64],
    /// `attn.c_proj.bias` (D)
    pub b_o: &'a [f64],
    /// `ln_2.weight` (D)
    pub ln_2_gamma: &'a [f64],
    /// `ln_2.bias` (D)
    pub ln_2_beta: &'a [f64],
    /// `mlp.c_fc.weight` (D, I)
    pub w_1: &'a [f64],
    /// `mlp.c_fc.bias` (I)
    pub b_1: &'a [f64],
    /// `mlp.c_proj.weight` (I, D)
    pub w_2: &'a [f64],
    /// `mlp.c_proj.bias` (D)
    pub b_2: &'a [f64],
}

/// Everything the forward pass of a block computed.
#[derive(Clone, Debug)]
pub(crate) struct BlockForward {
    /// r (T, D)
    pub r: Vec<f64>,
    /// u (T, D) and the statistics of LN1
    pub u: LayerNorm,
    /// `[q k v]` (T, 3D)
    pub qkv: Vec<f64>,
    /// A (H, T, T) before any patch, and concat(o) (T, D)
    pub attention: Attention,
    /// r′ (T, D)
    pub r_mid: Vec<f64>,
    /// m (T, D) and the statistics of LN2
    pub m: LayerNorm,
    /// f (T, I)
    pub f: Vec<f64>,
    /// g (T, I)
    pub g: Vec<f64>,
    /// r″ (T, D)
    pub r_post: Vec<f64>,
}

/// Everything the backward pass of a block computed.
#[derive(Clone, Debug)]
pub(crate) struct BlockBackward {
    /// δ (T, D)
    pub delta: Vec<f64>,
    /// ∂f (T, I)
    pub d_f: Vec<f64>,
    /// ∂γ and ∂β of LN2 (D)
    pub ln_2: LayerNormGrad,
    /// δ′ (T, D)
    pub delta_mid: Vec<f64>,
    /// ∂o of all heads (T, D)
    pub d_o: Vec<f64>,
    /// R (H, T, T) and `[∂q ∂k ∂v]` (T, 3D)
    pub attention: AttentionGrad,
    /// ∂γ and ∂β of LN1 (D)
    pub ln_1: LayerNormGrad,
    /// δ_next (T, D)
    pub delta_next: Vec<f64>,
}

/// The forward pass of a block whose input is `r` (T, D).
pub(crate) fn block_forward(
    w: &BlockWeights,
    r: Vec<f64>,
    shape: BlockShape,
    change: &BlockChange,
) -> BlockForward {
    let BlockShape { t, d, h, i, eps } = shape;
    let w_o = change.silence_heads(w.w_o, d, h); // (D, D)

    let u = layer_norm(&r, w.ln_1_gamma, w.ln_1_beta, t, d, eps); // (T, D)
    let qkv = linear(&u.y, w.w_qkv, w.b_qkv, t, d, 3 * d); // (T, 3D)
    let attention = attention(&qkv, t, d, h, change.patch()); // A (H, T, T), o (T, D)
    let r_mid = add(&r, &linear(&attention.out, &w_o, w.b_o, t, d, d)); // (T, D)
    let m = layer_norm(&r_mid, w.ln_2_gamma, w.ln_2_beta, t, d, eps); // (T, D)
    let f = linear(&m.y, w.w_1, w.b_1, t, d, i); // (T, I)
    let g: Vec<f64> = f.iter().map(|&f| gelu_new(f)).collect(); // (T, I)
    let r_post = add(&r_mid, &linear(&g, w.w_2, w.b_2, t, i, d)); // (T, D)

    BlockForward { r, u, qkv, attention, r_mid, m, f, g, r_post }
}

/// The backward pass of a block; `delta` is ∂L/∂r″ (T, D), `forward` what [`block_forward`] returned
/// with the same weights and the same change.
pub(crate) fn block_backward(
    w: &BlockWeights,
    forward: &BlockForward,
    delta: Vec<f64>,
    shape: BlockShape,
    change: &BlockChange,
) -> BlockBackward {
    let BlockShape { t, d, h, i, .. } = shape;
    let BlockForward { r, u, qkv, attention, r_mid, m, f, .. } = forward;
    let w_o = change.silence_heads(w.w_o, d, h); // (D, D)

    let d_g = matmul_nt(&delta, w.w_2, t, i, d); // (T, I)
    let d_f: Vec<f64> = d_g.iter().zip(f).map(|(d_g, &f)| d_g * gelu_new_derivative(f)).collect(); // (T, I)
    let d_m = matmul_nt(&d_f, w.w_1, t, d, i); // (T, D)
    let ln_2 = layer_norm_backward(&d_m, r_mid, w.ln_2_gamma, &m.mean, &m.rstd, t, d);
    let delta_mid = add(&delta, &ln_2.dx); // (T, D)
    let d_o = matmul_nt(&delta_mid, &w_o, t, d, d); // (T, D)
    let attention = attention_backward(qkv, &attention.pattern, change.patch(), &d_o, t, d, h); // R (H, T, T)
    let d_u = matmul_nt(&attention.d_qkv, w.w_qkv, t, d, 3 * d); // (T, D)
    let ln_1 = layer_norm_backward(&d_u, r, w.ln_1_gamma, &u.mean, &u.rstd, t, d);
    let delta_next = add(&delta_mid, &ln_1.dx); // (T, D)

    BlockBackward { delta, d_f, ln_2, delta_mid, d_o, attention, ln_1, delta_next }
}
