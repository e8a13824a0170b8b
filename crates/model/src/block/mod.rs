//! One transformer block, forward and backward.
//!
//! ```text
//! forward                                          backward, with δ = ∂L/∂r''
//! u = LN1(r)                                       ∂f = (δ·W2ᵀ) ⊙ gelu_new'(f)
//! [q k v] = u·Wqkv + bqkv                          ∂m = ∂f·W1ᵀ
//! A_h = softmax(q_h·k_hᵀ/√d), causal               δ' = δ + LN2ᵇ(∂m)
//! o_h = A_h·v_h                                    ∂o = δ'·Woᵀ
//! r' = r + concat(o)·Wo + bo                       E = ∂o_h·v_hᵀ
//! m = LN2(r')                                      R_h = A_h ⊙ (E − rowsum(A_h ⊙ E))/√d
//! f = m·W1 + b1,  g = gelu_new(f)                  ∂q_h = R_h·k_h,  ∂k_h = R_hᵀ·q_h,  ∂v_h = A_hᵀ·∂o_h
//! r'' = r' + g·W2 + b2                             ∂u = [∂q ∂k ∂v]·Wqkvᵀ,  δ_next = δ' + LN1ᵇ(∂u)
//! ```
//!
//! Weight gradients are products of what these lines leave behind: (u, [∂q ∂k ∂v]) for Wqkv, (o, δ')
//! for Wo, (m, ∂f) for W1, (g, δ) for W2; see [`weight_gradients`].
//! Rows: N = batch·T. Shapes stand beside each tensor below.

mod attention;
mod mlp;
mod weight_gradients;

pub(crate) use weight_gradients::weight_gradients;

use crate::ModelError;
use crate::form::Form;
use crate::parameters::Block;
use retrograd_formats::Config;
use retrograd_gpu::{Recorder, Tensor};

/// Extents of a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dims {
    /// Sequences.
    pub(crate) batch: usize,
    /// Tokens of each (T).
    pub(crate) context: usize,
    /// D
    pub(crate) width: usize,
    /// H
    pub(crate) heads: usize,
    /// I
    pub(crate) inner: usize,
    /// ε of the layer norms.
    pub(crate) epsilon: f32,
}

impl Dims {
    pub(crate) fn of(config: &Config, batch: usize, context: usize) -> Dims {
        Dims {
            batch,
            context,
            width: config.n_embd,
            heads: config.n_head,
            inner: config.n_inner,
            epsilon: config.layer_norm_epsilon as f32,
        }
    }

    /// N = batch·T
    pub(crate) fn rows(&self) -> usize {
        self.batch * self.context
    }

    /// d = D/H
    pub(crate) fn head_width(&self) -> usize {
        self.width / self.heads
    }

    /// Maps of all heads of all sequences: batch·H.
    pub(crate) fn maps(&self) -> usize {
        self.batch * self.heads
    }

    /// 1/√d
    pub(crate) fn score_scale(&self) -> f32 {
        (1.0 / (self.head_width() as f64).sqrt()) as f32
    }
}

/// What the forward pass of a block leaves on the device.
#[derive(Clone, Debug)]
pub(crate) struct Activations {
    pub(crate) resid_pre: Tensor,    // r    (N, D)
    pub(crate) ln_1: Tensor,         // u    (N, D)
    pub(crate) ln_1_stats: Tensor,   // μ, 1/σ (N, 2)
    pub(crate) qkv: Tensor,          // (N, 3D)
    pub(crate) pattern: Tensor,      // A    (batch·H, T, T)
    pub(crate) patch: Option<Patch>, // A' = A + αM
    pub(crate) attended: Tensor,     // o    (N, D)
    pub(crate) ablation: Option<Ablation>,
    pub(crate) resid_mid: Tensor,      // r'   (N, D)
    pub(crate) ln_2: Tensor,           // m    (N, D)
    pub(crate) ln_2_stats: Tensor,     // (N, 2)
    pub(crate) pre_activation: Tensor, // f    (N, I)
    pub(crate) activation: Tensor,     // g    (N, I)
    pub(crate) resid_post: Tensor,     // r''  (N, D)
    /// Where only P rows go on after the mixing: the tensors from r' to r'' have P rows then.
    pub(crate) tail: Option<Tail>,
}

/// Attention patching of a block.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    pub(crate) map: Tensor,     // M  (H, T, T)
    pub(crate) alpha: Tensor,   // α  (batch)
    pub(crate) patched: Tensor, // A' (batch·H, T, T)
}

/// Silenced heads of a block: their rows of Wo count as 0.
#[derive(Clone, Debug)]
pub(crate) struct Ablation {
    pub(crate) silenced: Tensor,           // 1 or 0 (batch, H)
    pub(crate) attended: Tensor,           // o with silenced heads at 0 (N, D)
    pub(crate) d_attended: Option<Tensor>, // ∂o likewise (N, D)
}

/// The last block's rows that the loss depends on: nothing is computed of the others once attention has mixed them.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    pub(crate) form: Form,
    pub(crate) attended: Tensor,  // o of those rows (P, D)
    pub(crate) resid_pre: Tensor, // r of those rows (P, D)
}

/// Their gradients on the way back to all rows.
#[derive(Clone, Debug)]
pub(crate) struct TailDeltas {
    pub(crate) d_attended: Tensor, // ∂o of those rows (P, D)
    pub(crate) resid_mid: Tensor,  // δ' of all rows (N, D)
}

/// What the backward pass of a block leaves on the device.
#[derive(Clone, Debug)]
pub(crate) struct Deltas {
    pub(crate) resid_post: Tensor,     // δ      (N, D)
    pub(crate) pre_activation: Tensor, // ∂f     (N, I)
    pub(crate) resid_mid: Tensor,      // δ'     (N, D)
    pub(crate) reversed: Tensor,       // R      (batch·H, T, T)
    pub(crate) qkv: Tensor,            // ∂q ∂k ∂v (N, 3D)
    pub(crate) resid_pre: Tensor,      // δ_next (N, D)
    pub(crate) ln_1: Option<Tensor>,   // ∂γ, ∂β (2, D)
    pub(crate) ln_2: Option<Tensor>,   // (2, D)
    /// Where the block has a [`Tail`]: δ, ∂f and δ' have P rows.
    pub(crate) tail: Option<TailDeltas>,
}

/// Intermediate gradients that nobody reads; all blocks share them.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    pub(crate) d_ln: Tensor,       // ∂m, then ∂u (N, D)
    pub(crate) d_attended: Tensor, // ∂o (N, D)
    pub(crate) e: Tensor,          // E  (batch·H, T, T)
}

/// How the backward pass of a block runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// Where its gradient begins: rows before this one have δ = 0.
    pub(crate) first: usize,
    /// The pattern's buffer is shared by all blocks and must be filled again first.
    pub(crate) recompute_pattern: bool,
    /// Nobody wants what lies behind R: the backward pass ends there.
    pub(crate) ends_at_reversed: bool,
}

/// Records the forward pass of a block.
pub(crate) fn forward(
    recorder: &mut Recorder,
    dims: &Dims,
    block: &Block,
    a: &Activations,
) -> Result<(), ModelError> {
    scores(recorder, dims, block, a)?;
    from_scores(recorder, dims, block, a)
}

/// Records its beginning: everything that no intervention of this block changes.
pub(crate) fn scores(
    recorder: &mut Recorder,
    dims: &Dims,
    block: &Block,
    a: &Activations,
) -> Result<(), ModelError> {
    attention::scores(recorder, dims, block, a)
}

/// Records the rest.
pub(crate) fn from_scores(
    recorder: &mut Recorder,
    dims: &Dims,
    block: &Block,
    a: &Activations,
) -> Result<(), ModelError> {
    attention::mix(recorder, dims, a)?;
    from_mixed(recorder, dims, block, a)
}

/// Records what follows once every head has mixed its values.
pub(crate) fn from_mixed(
    recorder: &mut Recorder,
    dims: &Dims,
    block: &Block,
    a: &Activations,
) -> Result<(), ModelError> {
    attention::output(recorder, block, a)?;
    mlp::forward(recorder, dims, block, a)
}

/// Records the backward pass of a block.
pub(crate) fn backward(
    recorder: &mut Recorder,
    dims: &Dims,
    block: &Block,
    a: &Activations,
    d: &Deltas,
    scratch: &Scratch,
    rows: Rows,
) -> Result<(), ModelError> {
    mlp::backward(recorder, block, a, d, scratch, rows)?;
    if rows.recompute_pattern {
        attention::pattern(recorder, dims, a)?;
    }
    attention::backward(recorder, dims, block, a, d, scratch, rows)
}
