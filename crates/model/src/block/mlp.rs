//! ```text
//! m = LN2(r')                         ∂f = (δ·W2ᵀ) ⊙ gelu_new'(f)
//! f = m·W1 + b1,  g = gelu_new(f)     ∂m = ∂f·W1ᵀ
//! r'' = r' + g·W2 + b2                δ' = δ + LN2ᵇ(∂m)
//! ```

use super::{Activations, Deltas, Dims, Rows, Scratch};
use crate::ModelError;
use crate::parameters::Block;
use retrograd_gpu::Recorder;
use retrograd_gpu::ops::{self, Gemm, Matrix};

pub(super) fn forward(
    recorder: &mut Recorder,
    dims: &Dims,
    block: &Block,
    a: &Activations,
) -> Result<(), ModelError> {
    // m = LN2(r')
    ops::layer_norm(
        recorder,
        ops::LayerNorm {
            x: &a.resid_mid,
            x_row: 0,
            gamma: &block.ln_2.gamma,
            beta: &block.ln_2.beta,
            epsilon: dims.epsilon,
            y: &a.ln_2,
            stats: &a.ln_2_stats,
        },
    )?;
    // f = m·W1 + b1, g = gelu_new(f)
    let w1 = &block.c_fc;
    ops::gemm(recorder, Gemm::nn(&a.ln_2, &w1.weight, &a.activation).bias(&w1.bias).gelu(&a.pre_activation))?;
    // r'' = r' + g·W2 + b2
    let w2 = &block.mlp_proj;
    ops::gemm(
        recorder,
        Gemm::nn(&a.activation, &w2.weight, &a.resid_post).bias(&w2.bias).residual(&a.resid_mid),
    )?;
    Ok(())
}

pub(super) fn backward(
    recorder: &mut Recorder,
    block: &Block,
    a: &Activations,
    d: &Deltas,
    scratch: &Scratch,
    rows: Rows,
) -> Result<(), ModelError> {
    // With a tail there are no rows but those with a gradient.
    let first = if d.tail.is_some() { 0 } else { rows.first };
    let d_ln = &scratch.d_ln.prefix(a.resid_mid.shape());
    if first > 0 {
        // δ is 0 in the rows before: so are ∂f and ∂m.
        recorder.clear(&d.pre_activation);
        recorder.clear(d_ln);
    }
    // ∂f = (δ·W2ᵀ) ⊙ gelu_new'(f)
    let delta = Matrix::of(&d.resid_post).from_row(first);
    let d_f = Matrix::of(&d.pre_activation).from_row(first);
    ops::gemm(recorder, Gemm::nt(delta, &block.mlp_proj.weight, d_f).gelu_backward(&a.pre_activation))?;
    // ∂m = ∂f·W1ᵀ
    let d_m = Matrix::of(d_ln).from_row(first);
    ops::gemm(recorder, Gemm::nt(d_f, &block.c_fc.weight, d_m))?;
    // δ' = δ + LN2ᵇ(∂m)
    ops::layer_norm_backward(
        recorder,
        ops::LayerNormBackward {
            dy: d_ln,
            x: &a.resid_mid,
            x_row: 0,
            gamma: &block.ln_2.gamma,
            stats: &a.ln_2_stats,
            upstream: Some(&d.resid_post),
            dx: &d.resid_mid,
        },
    )?;
    if let Some(d_gamma_beta) = &d.ln_2 {
        ops::layer_norm_grad(
            recorder,
            ops::LayerNormGrad { dy: d_ln, x: &a.resid_mid, x_row: 0, stats: &a.ln_2_stats, d_gamma_beta },
        )?;
    }
    Ok(())
}
