//! Norm of all gradients together and the factor that clips it. Kernels: `shaders/square_sum.wgsl`,
//! `shaders/global_norm.wgsl`.

use super::expect;
use super::row_layout::RowLayout;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`global_norm`].
#[derive(Clone, Copy, Debug)]
pub struct GlobalNorm<'a> {
    /// The gradients.
    pub gradients: &'a [Tensor],
    /// `[8]`: see [`HYPERPARAMETERS`](super::HYPERPARAMETERS).
    pub hyperparameters: &'a Tensor,
    /// `[2]`: result, the norm and the clipping factor.
    pub norm: &'a Tensor,
}

/// Elements whose squares one workgroup adds up.
const STRETCH: usize = 1 << 14;

/// `norm = √Σ g²`, `clip = min(1, max_norm/(norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_`.
pub fn global_norm(recorder: &mut Recorder, op: GlobalNorm<'_>) -> Result<(), GpuError> {
    const OP: &str = "global_norm";
    let layout = RowLayout::single(&recorder.gpu);
    expect::f32(OP, &[("hyperparameters", op.hyperparameters), ("norm", op.norm)])?;
    expect::shape(OP, "hyperparameters", op.hyperparameters, &[super::HYPERPARAMETERS])?;
    expect::shape(OP, "norm", op.norm, &[2])?;
    let groups: usize = op.gradients.iter().map(|g| g.len().div_ceil(STRETCH)).sum();
    expect::iterations(OP, "the partial sums", groups.div_ceil(layout.lanes as usize))?;
    let partials = recorder.gpu.tensor([groups.max(1)])?;
    let mut at = 0;
    for gradient in op.gradients {
        expect::f32(OP, &[("gradient", gradient)])?;
        let groups = gradient.len().div_ceil(STRETCH);
        let width = expect::item_width(gradient);
        recorder.dispatch(
            &Kernel::new("square_sum", layout.options(width == 4, [])),
            &[(1, gradient), (2, &partials)],
            &[expect::index(OP, gradient.len() / width)?, (STRETCH / width) as u32, expect::index(OP, at)?],
            [expect::maps(OP, groups)?, 1, 1],
        )?;
        at += groups;
    }
    recorder.dispatch(
        &Kernel::new("global_norm", layout.options(false, [])),
        &[(1, &partials), (2, op.hyperparameters), (3, op.norm)],
        &[expect::index(OP, groups)?],
        [1, 1, 1],
    )
}
