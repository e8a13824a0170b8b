//! Attention of one new token over a cache. Kernel: `shaders/attention_decode.wgsl`.

use super::expect;
use super::row_layout::RowLayout;
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Operands of [`attention_decode`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionDecode<'a> {
    /// `[1]` u32: the token's position, below the cache's capacity.
    pub position: &'a Tensor,
    /// `[1, 3D]`: its query, key and value.
    pub qkv: &'a Tensor,
    /// `[capacity, 3D]`: rows `[q k v]` of the tokens so far; receives this token's key and value.
    pub cache: &'a Tensor,
    /// `[heads, capacity]`: scratch.
    pub scores: &'a Tensor,
    /// `[heads]` u32: 0 silences a head.
    pub keep: Option<&'a Tensor>,
    /// `[1, D]`: result.
    pub o: &'a Tensor,
}

/// `o_h = softmax(q_h·K_hᵀ/√d)·V_h` for every head, over positions 0 to `position`.
pub fn attention_decode(recorder: &mut Recorder, op: AttentionDecode<'_>) -> Result<(), GpuError> {
    const OP: &str = "attention_decode";
    expect::f32(OP, &[("qkv", op.qkv), ("cache", op.cache), ("scores", op.scores), ("o", op.o)])?;
    expect::u32(OP, &[("position", op.position)])?;
    let (heads, capacity) = (op.scores.shape().rows(), op.scores.shape().columns());
    let width = op.o.len();
    let head_columns = width / heads.max(1);
    expect::shape(OP, "position", op.position, &[1])?;
    expect::shape(OP, "o", op.o, &[1, heads * head_columns])?;
    expect::shape(OP, "qkv", op.qkv, &[1, 3 * width])?;
    expect::shape(OP, "cache", op.cache, &[capacity, 3 * width])?;
    let mut bindings = vec![(1, op.position), (2, op.qkv), (3, op.cache), (4, op.scores), (6, op.o)];
    if let Some(keep) = op.keep {
        expect::u32(OP, &[("keep", keep)])?;
        expect::shape(OP, "keep", keep, &[heads])?;
        bindings.push((5, keep));
    }
    let layout = RowLayout::single(&recorder.gpu);
    let lanes = layout.lanes;
    let per_lane = capacity.div_ceil(lanes as usize);
    // Scores, a product for each token; exponentials; sums over all tokens for each column. Of a loop inside another the
    // look that ends it counts each time: lavapipe counts those too.
    let columns = head_columns.div_ceil(lanes as usize);
    expect::iterations(
        OP,
        "the cache",
        per_lane * (head_columns + 2) + per_lane + columns * (capacity + 2) + columns,
    )?;
    let scale = 1.0 / (head_columns as f32).sqrt();
    recorder.dispatch(
        &Kernel::new("attention_decode", layout.options(false, [("masked", op.keep.is_some().into())])),
        &bindings,
        &[heads as u32, head_columns as u32, expect::index(OP, capacity)?, scale.to_bits()],
        [expect::maps(OP, heads)?, 1, 1],
    )
}
