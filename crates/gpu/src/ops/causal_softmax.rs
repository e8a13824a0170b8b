//! Row softmax under the causal mask, in place. Kernel: `shaders/causal_softmax.wgsl`.

use super::expect;
use super::row_layout::RowLayout;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Turns scaled scores `[maps, T, T]` into patterns: each row's softmax over the columns up to the
/// diagonal, exact zeros above it.
pub fn causal_softmax(recorder: &mut Recorder, scores: &Tensor) -> Result<(), GpuError> {
    const OP: &str = "causal_softmax";
    expect::f32(OP, &[("scores", scores)])?;
    let context = scores.shape().columns();
    let maps = scores.len() / (context * context).max(1);
    expect::shape(OP, "scores", scores, &[maps, context, context])?;
    let layout = RowLayout::of(&recorder.gpu);
    expect::iterations(OP, "a row", 3 * context.div_ceil(layout.lanes as usize))?;
    recorder.dispatch(
        &Kernel::new("causal_softmax", layout.options(false, [])),
        &[(1, scores)],
        &[context as u32],
        [expect::maps(OP, layout.groups(context))?, expect::maps(OP, maps)?, 1],
    )
}
