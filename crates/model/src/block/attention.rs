//! ```text
//! u = LN1(r)                                   ∂o = δ'·Woᵀ
//! [q k v] = u·Wqkv + bqkv                      E = ∂o_h·v_hᵀ
//! A_h = softmax(q_h·k_hᵀ/√d), causal           R_h = A_h ⊙ (E − rowsum(A_h ⊙ E))/√d
//! A'_h = A_h + αM_h  (only where patched)      ∂q_h = R_h·k_h,  ∂k_h = R_hᵀ·q_h
//! o_h = A'_h·v_h                               ∂v_h = A'_hᵀ·∂o_h
//! r' = r + concat(o)·Wo + bo                   ∂u = [∂q ∂k ∂v]·Wqkvᵀ,  δ_next = δ' + LN1ᵇ(∂u)
//! ```
//!
//! q_h, k_h and v_h are views into the rows of [q k v]; nothing is transposed or copied.

use super::{Activations, Deltas, Dims, Rows, Scratch};
use crate::ModelError;
use crate::parameters::Block;
use retrograd_gpu::ops::{self, Causal, Gemm, Matrix};
use retrograd_gpu::{Recorder, Tensor};

impl Dims {
    /// The T×d matrix of every head inside the `part`-th D columns of a (N, parts·D) tensor.
    fn heads_of<'a>(&self, tensor: &'a Tensor, part: usize) -> Matrix<'a> {
        let stride = tensor.shape().columns();
        Matrix::of(tensor)
            .rows(0, self.context)
            .columns(part * self.width, self.head_width())
            .strides(self.context * stride, self.head_width())
    }

    /// The T×T map of every head inside a (batch·H, T, T) tensor.
    fn maps_of<'a>(&self, tensor: &'a Tensor) -> Matrix<'a> {
        let map = self.context * self.context;
        Matrix::of(tensor).rows(0, self.context).strides(self.heads * map, map)
    }
}

/// A = softmax(q·kᵀ/√d), causal.
pub(super) fn pattern(recorder: &mut Recorder, dims: &Dims, a: &Activations) -> Result<(), ModelError> {
    let scores = Gemm::nt(dims.heads_of(&a.qkv, 0), dims.heads_of(&a.qkv, 1), dims.maps_of(&a.pattern))
        .maps(dims.batch, dims.heads)
        .causal(Causal::LowerC)
        .alpha(dims.score_scale());
    ops::gemm(recorder, scores)?;
    ops::causal_softmax(recorder, &a.pattern)?;
    Ok(())
}

pub(super) fn scores(
    recorder: &mut Recorder,
    dims: &Dims,
    block: &Block,
    a: &Activations,
) -> Result<(), ModelError> {
    // u = LN1(r)
    ops::layer_norm(
        recorder,
        ops::LayerNorm {
            x: &a.resid_pre,
            x_row: 0,
            gamma: &block.ln_1.gamma,
            beta: &block.ln_1.beta,
            epsilon: dims.epsilon,
            y: &a.ln_1,
            stats: &a.ln_1_stats,
        },
    )?;
    // [q k v] = u·Wqkv + bqkv
    ops::gemm(recorder, Gemm::nn(&a.ln_1, &block.c_attn.weight, &a.qkv).bias(&block.c_attn.bias))?;
    // A = softmax(q·kᵀ/√d)
    pattern(recorder, dims, a)
}

pub(super) fn mix(recorder: &mut Recorder, dims: &Dims, a: &Activations) -> Result<(), ModelError> {
    // A' = A + αM
    if let Some(patch) = &a.patch {
        ops::patch_attention(
            recorder,
            ops::PatchAttention {
                pattern: &a.pattern,
                map: &patch.map,
                alpha: &patch.alpha,
                out: &patch.patched,
            },
        )?;
    }
    // o = A'·v
    ops::gemm(
        recorder,
        Gemm::nn(dims.maps_of(a.mixing()), dims.heads_of(&a.qkv, 2), dims.heads_of(&a.attended, 0))
            .maps(dims.batch, dims.heads)
            .causal(Causal::LowerA),
    )?;
    Ok(())
}

pub(super) fn output(recorder: &mut Recorder, block: &Block, a: &Activations) -> Result<(), ModelError> {
    let (mut attended, mut resid_pre) = (&a.attended, &a.resid_pre);
    if let Some(ablation) = &a.ablation {
        silence(recorder, attended, &ablation.silenced, &ablation.attended)?;
        attended = &ablation.attended;
    }
    if let Some(tail) = &a.tail {
        tail.form.gather(recorder, attended, &tail.attended)?;
        tail.form.gather(recorder, resid_pre, &tail.resid_pre)?;
        (attended, resid_pre) = (&tail.attended, &tail.resid_pre);
    }
    // r' = r + concat(o)·Wo + bo
    let wo = &block.attn_proj;
    ops::gemm(recorder, Gemm::nn(attended, &wo.weight, &a.resid_mid).bias(&wo.bias).residual(resid_pre))?;
    Ok(())
}

/// Sets the columns of silenced heads to 0.
fn silence(recorder: &mut Recorder, x: &Tensor, silenced: &Tensor, out: &Tensor) -> Result<(), ModelError> {
    let op = ops::ReplaceHeads { x, replaced: silenced, fill: None, first_position: 0, out };
    Ok(ops::replace_heads(recorder, op)?)
}

impl Activations {
    /// What multiplies v: A, or A' where patched.
    fn mixing(&self) -> &Tensor {
        self.patch.as_ref().map_or(&self.pattern, |patch| &patch.patched)
    }
}

pub(super) fn backward(
    recorder: &mut Recorder,
    dims: &Dims,
    block: &Block,
    a: &Activations,
    d: &Deltas,
    scratch: &Scratch,
    rows: Rows,
) -> Result<(), ModelError> {
    // With a first row, the maps' tiles no longer begin at the diagonal: their structure is not used.
    let whole = rows.first == 0;
    let causal = |causal| if whole { causal } else { Causal::None };

    // ∂o = δ'·Woᵀ
    let wo = &block.attn_proj.weight;
    let mut d_resid_mid = &d.resid_mid;
    if let (Some(tail), Some(d_tail)) = (&a.tail, &d.tail) {
        ops::gemm(recorder, Gemm::nt(&d.resid_mid, wo, &d_tail.d_attended))?;
        tail.form.scatter(recorder, &d_tail.d_attended, &scratch.d_attended)?;
        tail.form.scatter(recorder, &d.resid_mid, &d_tail.resid_mid)?;
        d_resid_mid = &d_tail.resid_mid;
    } else {
        if !whole {
            recorder.clear(&scratch.d_attended);
        }
        let delta = Matrix::of(&d.resid_mid).from_row(rows.first);
        ops::gemm(recorder, Gemm::nt(delta, wo, Matrix::of(&scratch.d_attended).from_row(rows.first)))?;
    }
    let mut d_attended = &scratch.d_attended;
    if let Some(ablation) = &a.ablation
        && let Some(silenced) = &ablation.d_attended
    {
        silence(recorder, d_attended, &ablation.silenced, silenced)?;
        d_attended = silenced;
    }
    // E = ∂o·vᵀ
    ops::gemm(
        recorder,
        Gemm::nt(
            dims.heads_of(d_attended, 0).from_row(rows.first),
            dims.heads_of(&a.qkv, 2),
            dims.maps_of(&scratch.e).from_row(rows.first),
        )
        .maps(dims.batch, dims.heads)
        .causal(causal(Causal::LowerC)),
    )?;
    // R = A ⊙ (E − rowsum(A ⊙ E))/√d
    ops::reversed_attention(
        recorder,
        ops::ReversedAttention {
            pattern: &a.pattern,
            e: &scratch.e,
            first_row: rows.first,
            scale: dims.score_scale(),
            reversed: &d.reversed,
        },
    )?;
    if rows.ends_at_reversed {
        return Ok(());
    }
    // ∂q = R·k
    ops::gemm(
        recorder,
        Gemm::nn(dims.maps_of(&d.reversed), dims.heads_of(&a.qkv, 1), dims.heads_of(&d.qkv, 0))
            .maps(dims.batch, dims.heads)
            .causal(Causal::LowerA),
    )?;
    // ∂k = Rᵀ·q
    ops::gemm(
        recorder,
        Gemm::tn(
            dims.maps_of(&d.reversed).from_row(rows.first),
            dims.heads_of(&a.qkv, 0).from_row(rows.first),
            dims.heads_of(&d.qkv, 1),
        )
        .maps(dims.batch, dims.heads)
        .causal(causal(Causal::LowerTransposedA)),
    )?;
    // ∂v = A'ᵀ·∂o
    ops::gemm(
        recorder,
        Gemm::tn(
            dims.maps_of(a.mixing()).from_row(rows.first),
            dims.heads_of(d_attended, 0).from_row(rows.first),
            dims.heads_of(&d.qkv, 2),
        )
        .maps(dims.batch, dims.heads)
        .causal(causal(Causal::LowerTransposedA)),
    )?;
    // ∂u = [∂q ∂k ∂v]·Wqkvᵀ
    ops::gemm(recorder, Gemm::nt(&d.qkv, &block.c_attn.weight, &scratch.d_ln))?;
    // δ_next = δ' + LN1ᵇ(∂u)
    ops::layer_norm_backward(
        recorder,
        ops::LayerNormBackward {
            dy: &scratch.d_ln,
            x: &a.resid_pre,
            x_row: 0,
            gamma: &block.ln_1.gamma,
            stats: &a.ln_1_stats,
            upstream: Some(d_resid_mid),
            dx: &d.resid_pre,
        },
    )?;
    if let Some(d_gamma_beta) = &d.ln_1 {
        ops::layer_norm_grad(
            recorder,
            ops::LayerNormGrad {
                dy: &scratch.d_ln,
                x: &a.resid_pre,
                x_row: 0,
                stats: &a.ln_1_stats,
                d_gamma_beta,
            },
        )?;
    }
    Ok(())
}
