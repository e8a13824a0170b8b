//! One AdamW step of one tensor. Kernel: `shaders/adamw.wgsl`.

use super::expect;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Length of the hyperparameter tensor: learning rate, β₁, β₂, ε, weight decay, 1 − β₁ᵗ, √(1 − β₂ᵗ),
/// largest gradient norm (0: no clipping). It is written before each step; the pass stays the same.
pub const HYPERPARAMETERS: usize = 8;

/// Operands of [`adamw`].
#[derive(Clone, Copy, Debug)]
pub struct AdamW<'a> {
    /// The parameter, updated in place.
    pub parameter: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// First moment, updated in place.
    pub first_moment: &'a Tensor,
    /// Second moment, updated in place.
    pub second_moment: &'a Tensor,
    /// `[2]`: norm and clipping factor from [`global_norm`](super::global_norm).
    pub norm: &'a Tensor,
    /// `[8]`: see [`HYPERPARAMETERS`].
    pub hyperparameters: &'a Tensor,
    /// Whether the weight decay applies to this tensor.
    pub decay: bool,
}

/// Updates a parameter and its moments.
pub fn adamw(recorder: &mut Recorder, op: AdamW<'_>) -> Result<(), GpuError> {
    const OP: &str = "adamw";
    let dims = op.parameter.shape();
    for (name, tensor) in [
        ("parameter", op.parameter),
        ("gradient", op.gradient),
        ("first_moment", op.first_moment),
        ("second_moment", op.second_moment),
    ] {
        expect::f32(OP, &[(name, tensor)])?;
        expect::shape(OP, name, tensor, dims.dims())?;
    }
    expect::shape(OP, "norm", op.norm, &[2])?;
    expect::shape(OP, "hyperparameters", op.hyperparameters, &[HYPERPARAMETERS])?;
    let width = expect::item_width(op.parameter);
    let items = op.parameter.len() / width;
    recorder.dispatch(
        &Kernel::new("adamw", [("quads", (width == 4).into())]),
        &[
            (1, op.parameter),
            (2, op.gradient),
            (3, op.first_moment),
            (4, op.second_moment),
            (5, op.norm),
            (6, op.hyperparameters),
        ],
        &[expect::index(OP, items)?, f32::from(u8::from(op.decay)).to_bits()],
        expect::flat_grid(items),
    )
}
