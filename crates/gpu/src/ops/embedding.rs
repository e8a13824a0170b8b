//! `x = wte[token] + wpe[position]`. Kernel: `shaders/embedding.wgsl`.

use super::{VocabRange, expect};
use crate::image::ImageLayout;
use crate::kernel::Kernel;
use crate::{Dtype, GpuError, Recorder, Tensor};

/// Operands of [`embedding`].
#[derive(Clone, Copy, Debug)]
pub struct Embedding<'a> {
    /// `[rows]` u32, every one inside the vocabulary.
    pub tokens: &'a Tensor,
    /// `[1]` u32: position of the first token of a sequence.
    pub start: &'a Tensor,
    /// Tokens of one sequence; row i stands at position `start + i mod context`.
    pub context: usize,
    /// The token embedding, in ranges that cover the vocabulary.
    pub wte: &'a [VocabRange],
    /// `[n_positions, D]`
    pub wpe: &'a Tensor,
    /// `[rows, D]`: result.
    pub x: &'a Tensor,
}

/// Looks tokens and positions up: one dispatch per vocabulary range.
pub fn embedding(recorder: &mut Recorder, op: Embedding<'_>) -> Result<(), GpuError> {
    const OP: &str = "embedding";
    let (rows, columns) = (op.x.shape().rows(), op.x.shape().columns());
    expect::f32(OP, &[("wpe", op.wpe), ("x", op.x)])?;
    expect::u32(OP, &[("tokens", op.tokens), ("start", op.start)])?;
    expect::shape(OP, "tokens", op.tokens, &[rows])?;
    expect::shape(OP, "start", op.start, &[1])?;
    expect::at_least(OP, "wpe", op.wpe, op.context * columns)?;
    for range in op.wte {
        expect::shape(OP, "wte", &range.rows, &[range.count(), columns])?;
        let options = [
            ("f16", (range.rows.dtype() == Dtype::F16).into()),
            ("image", (range.rows.image_layout() == Some(ImageLayout::Strips)).into()),
        ];
        recorder.dispatch(
            &Kernel::new("embedding", options),
            &[(1, op.tokens), (2, op.start), (3, &range.rows), (4, op.wpe), (5, op.x)],
            &[
                expect::index(OP, rows)?,
                columns as u32,
                expect::index(OP, op.context.max(1))?,
                expect::index(OP, range.first)?,
                expect::index(OP, range.count())?,
            ],
            expect::column_grid(columns, rows),
        )?;
    }
    Ok(())
}
