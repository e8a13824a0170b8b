//! Weight gradients of a block from the factors that its passes left behind: ∂W = xᵀδ, ∂b = Σ_t δ_t.

use super::{Activations, Deltas};
use crate::ModelError;
use crate::parameters::{Block, Linear};
use retrograd_gpu::ops::{self, ColumnSum, Gemm};
use retrograd_gpu::{Recorder, Tensor};

/// Records the gradients of every weight of a block into `gradient`.
pub(crate) fn weight_gradients(
    recorder: &mut Recorder,
    gradient: &Block,
    a: &Activations,
    d: &Deltas,
) -> Result<(), ModelError> {
    linear(recorder, &gradient.mlp_proj, &a.activation, &d.resid_post)?;
    linear(recorder, &gradient.c_fc, &a.ln_2, &d.pre_activation)?;
    linear(recorder, &gradient.attn_proj, &a.attended, &d.resid_mid)?;
    linear(recorder, &gradient.c_attn, &a.ln_1, &d.qkv)?;
    for (norm, both) in [(&gradient.ln_1, &d.ln_1), (&gradient.ln_2, &d.ln_2)] {
        if let Some(both) = both {
            let width = norm.gamma.len();
            recorder.copy(both, 0, &norm.gamma, 0, width)?;
            recorder.copy(both, width, &norm.beta, 0, width)?;
        }
    }
    Ok(())
}

/// ∂W = xᵀδ (in, out), ∂b = Σ_t δ_t (out)
fn linear(recorder: &mut Recorder, gradient: &Linear, x: &Tensor, delta: &Tensor) -> Result<(), ModelError> {
    ops::gemm(recorder, Gemm::tn(x, delta, &gradient.weight))?;
    ops::column_sum(recorder, ColumnSum { x: delta, first_column: 0, out: &gradient.bias })?;
    Ok(())
}
