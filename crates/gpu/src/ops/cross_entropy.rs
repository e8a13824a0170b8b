//! Softmax cross-entropy and its gradient, the vocabulary in ranges. Kernels:
//! `shaders/cross_entropy_stats.wgsl`, `shaders/cross_entropy.wgsl`.

use super::expect;
use super::row_layout::{RowLayout, in_quads};
use super::weighted_sum::{WeightedSum, weighted_sum};
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`cross_entropy`].
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'a> {
    /// Per range of the vocabulary: `[rows, count]`, in the order of the tokens.
    pub logits: &'a [Tensor],
    /// `[rows]` u32.
    pub targets: &'a Tensor,
    /// Rows that a loss is the mean of: all of them, or those of one sequence of a batch, whose losses are added up.
    pub mean_over: usize,
    /// Per range: `[rows, count]`, result, `(softmax − onehot)/mean_over`.
    pub delta: &'a [Tensor],
    /// `[rows]`: result, the loss of each row.
    pub row_loss: &'a Tensor,
    /// `[1]`: result, their sum divided by `mean_over`.
    pub loss: &'a Tensor,
}

/// Mean of `−log softmax(logits)[target]` over the rows (of each sequence, added up), and its gradient.
pub fn cross_entropy(recorder: &mut Recorder, op: CrossEntropy<'_>) -> Result<(), GpuError> {
    const OP: &str = "cross_entropy";
    let rows = op.targets.len();
    let ranges = op.logits.len();
    expect::u32(OP, &[("targets", op.targets)])?;
    expect::shape(OP, "loss", op.loss, &[1])?;
    expect::shape(OP, "row_loss", op.row_loss, &[rows])?;
    let gpu = recorder.gpu.clone();
    let layout = RowLayout::long(&gpu);
    let stats = gpu.tensor([rows, ranges, 2])?;
    let target_logit = gpu.tensor([rows])?;
    let rows_u32 = expect::index(OP, rows)?;

    let mut first = 0;
    for (range, logits) in op.logits.iter().enumerate() {
        let count = logits.shape().columns();
        expect::f32(OP, &[("logits", logits)])?;
        expect::shape(OP, "logits", logits, &[rows, count])?;
        expect::iterations(OP, "a row of logits", 2 * count.div_ceil(layout.lanes as usize))?;
        recorder.dispatch(
            &Kernel::new("cross_entropy_stats", layout.options(in_quads(&[logits]), [])),
            &[(1, logits), (2, op.targets), (3, &stats), (4, &target_logit)],
            &[rows_u32, expect::index(OP, first)?, count as u32, range as u32, ranges as u32],
            layout.grid(rows),
        )?;
        first += count;
    }
    let mut first = 0;
    for (logits, delta) in op.logits.iter().zip(op.delta) {
        let count = logits.shape().columns();
        expect::f32(OP, &[("delta", delta)])?;
        expect::shape(OP, "delta", delta, &[rows, count])?;
        let scale = 1.0 / op.mean_over as f32;
        recorder.dispatch(
            &Kernel::new("cross_entropy", layout.options(in_quads(&[logits]), [])),
            &[(1, logits), (2, op.targets), (3, &stats), (4, &target_logit), (5, delta), (6, op.row_loss)],
            &[rows_u32, expect::index(OP, first)?, count as u32, ranges as u32, scale.to_bits()],
            layout.grid(rows),
        )?;
        first += count;
    }
    let scale = 1.0 / op.mean_over as f32;
    weighted_sum(recorder, WeightedSum { a: op.row_loss, b: None, scale, out: op.loss, out_index: 0 })
}
