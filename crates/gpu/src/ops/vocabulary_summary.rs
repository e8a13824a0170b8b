//! What is read of a row of logits without reading the row: softmax statistics, the largest and the smallest
//! with their tokens, how many exceed a given token's. Kernel: `shaders/vocabulary_summary.wgsl`.

use super::expect;
use super::row_layout::{RowLayout, in_quads};
use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// Places that one look at a row fills: each is two registers an invocation.
const SLOTS_AT_ONCE: usize = 8;
/// Tokens whose ranks one look at a row counts.
const TOKENS_AT_ONCE: usize = 4;

/// A token number that stands where a range has fewer tokens than there are places.
pub const NO_TOKEN: u32 = (1 << 24) - 1;

/// Operands of [`vocabulary_summary`].
///
/// The vocabulary comes in pieces: each is summarised into its own part of the results, and
/// the host joins the parts, which are few.
#[derive(Clone, Copy, Debug)]
pub struct VocabularySummary<'a> {
    /// `[rows, count]`: the logits of one piece.
    pub logits: &'a Tensor,
    /// The piece's first token.
    pub first: usize,
    /// Which piece this is, and of how many.
    pub piece: (usize, usize),
    /// The tokens whose rank is asked for, if any.
    pub ranked: Option<RankedTokens<'a>>,
    /// `[rows, pieces, 3]`: result, m = max(logits), Σ exp(logit − m), Σ exp(logit − m)·(logit − m).
    pub stats: &'a Tensor,
    /// `[rows, pieces, 2, slots]`: result, the largest logits, descending, and the smallest, ascending.
    pub values: &'a Tensor,
    /// `[rows, pieces, 2, slots]` u32: result, their tokens; of equal logits the smaller token comes first.
    pub ids: &'a Tensor,
}

/// Tokens whose rank a [`VocabularySummary`] counts.
#[derive(Clone, Copy, Debug)]
pub struct RankedTokens<'a> {
    /// `[tokens]` u32: which.
    pub tokens: &'a Tensor,
    /// `[rows, tokens]`: their logits.
    pub logits: &'a Tensor,
    /// `[rows, pieces, tokens]` u32: result, how many logits of the piece are larger, the token's own left out.
    pub larger: &'a Tensor,
}

/// Summarises each row of a piece of the vocabulary. Eight places and four tokens take one look at the logits.
pub fn vocabulary_summary(recorder: &mut Recorder, op: VocabularySummary<'_>) -> Result<(), GpuError> {
    const OP: &str = "vocabulary_summary";
    let (rows, count) = (op.logits.shape().rows(), op.logits.shape().columns());
    let (piece, pieces) = op.piece;
    let slots = op.values.shape().columns();
    expect::f32(OP, &[("logits", op.logits), ("stats", op.stats), ("values", op.values)])?;
    expect::u32(OP, &[("ids", op.ids)])?;
    expect::shape(OP, "stats", op.stats, &[rows, pieces, 3])?;
    expect::shape(OP, "values", op.values, &[rows, pieces, 2, slots])?;
    expect::shape(OP, "ids", op.ids, &[rows, pieces, 2, slots])?;
    let tokens = op.ranked.map_or(0, |ranked| ranked.tokens.len());
    if let Some(RankedTokens { tokens: wanted, logits: given, larger }) = op.ranked {
        expect::f32(OP, &[("ranked logits", given)])?;
        expect::u32(OP, &[("ranked tokens", wanted), ("larger", larger)])?;
        expect::shape(OP, "ranked logits", given, &[rows, tokens])?;
        expect::shape(OP, "larger", larger, &[rows, pieces, tokens])?;
    }
    if op.first + count > NO_TOKEN as usize || piece >= pieces {
        let reason = format!("piece {piece} of {pieces} ends at token {}", op.first + count);
        return Err(GpuError::Unsupported { op: OP, reason });
    }
    let layout = RowLayout::of(&recorder.gpu);
    let quads = in_quads(&[op.logits]);
    // At worst every logit belongs into both lists: a loop over each item's elements for each.
    let looks = count.div_ceil(layout.lanes as usize) * 3;
    expect::iterations(OP, "a row of logits", looks + SLOTS_AT_ONCE)?;

    let rounds = slots.div_ceil(SLOTS_AT_ONCE).max(tokens.div_ceil(TOKENS_AT_ONCE)).max(1);
    for round in 0..rounds {
        let at = round * SLOTS_AT_ONCE;
        let token = round * TOKENS_AT_ONCE;
        let k = slots.saturating_sub(at).min(SLOTS_AT_ONCE);
        let counted = tokens.saturating_sub(token).min(TOKENS_AT_ONCE);
        let mut bindings = vec![(1, op.logits)];
        if round == 0 {
            bindings.push((2, op.stats));
        }
        if let (Some(ranked), true) = (op.ranked, counted > 0) {
            bindings.extend([(3, ranked.logits), (4, ranked.tokens), (5, ranked.larger)]);
        }
        if k > 0 {
            bindings.extend([(6, op.values), (7, op.ids)]);
        }
        let options = [
            ("statistics", (round == 0).into()),
            ("tokens", counted as u32),
            ("k", k as u32),
            ("after", (k > 0 && at > 0).into()),
        ];
        let params = [rows, op.first, count, piece, pieces, slots, at, tokens, token]
            .map(|value| expect::index(OP, value))
            .into_iter()
            .collect::<Result<Vec<u32>, _>>()?;
        let kernel = Kernel::new("vocabulary_summary", layout.options(quads, options));
        recorder.dispatch(&kernel, &bindings, &params, layout.grid(rows))?;
    }
    Ok(())
}
