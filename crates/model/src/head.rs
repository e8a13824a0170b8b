//! The final norm, the logits and the loss, forward and backward.
//!
//! ```text
//! x = ln_f(r) at the P positions that carry loss        δ_logits = (softmax(logits) − onehot)/P
//! logits = x·Eᵀ   (E: wte, or lm_head where untied)     ∂x = δ_logits·E
//! L = mean −log softmax(logits)[target]                 δ = LNᵇ(∂x), 0 at every other position
//! ```
//!
//! The vocabulary comes in ranges: (P, V) logits and E are bound piece by piece.

use crate::ModelError;
use crate::form::Form;
use crate::parameters::Norm;
use crate::trace::side_by_side;
use retrograd_gpu::ops::{self, Gemm, Matrix, VocabRange};
use retrograd_gpu::{Gpu, HostData, Recorder, Tensor};

/// How the loss is formed from the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LossKind {
    /// Mean cross-entropy with targets; δ_logits is computed.
    CrossEntropy,
    /// L = Σ δ ⊙ logits with a given δ_logits.
    Linear,
    /// No loss: logits only.
    None,
}

/// Tokens whose contributions to ∂x are summed in one go. One f32 sum over 50,257 tokens has ten times the
/// rounding error of PyTorch's blocked sum; sums of this length, added up, have twice.
const SUM_BLOCK: usize = 256;

/// Up to so many positions the sums of all blocks are kept and added up at the end: one dispatch for all blocks of a
/// piece. With more positions a block is work enough for a dispatch, and adds its sums to the others'.
const FEW_POSITIONS: usize = 4;

/// Tensors of the head. Ranges of the vocabulary run in parallel in `pieces`, `logits` and `delta`.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) kind: LossKind,
    pub(crate) first_position: usize, // row of r where the P rows begin
    pub(crate) pieces: Vec<Piece>,
    pub(crate) normed: Tensor,      // x (P, D)
    pub(crate) stats: Tensor,       // μ, 1/σ (P, 2)
    pub(crate) logits: Vec<Tensor>, // (P, piece)
    pub(crate) targets: Tensor,     // (P) u32
    pub(crate) loss: Tensor,        // (1)
    pub(crate) row_loss: Tensor,    // the loss of each row (P)
    mean_over: usize,
    pub(crate) delta: Vec<Tensor>, // δ_logits (P, piece); empty without a loss
    pub(crate) d_normed: Tensor,   // ∂x (P, D)
    block_sums: Option<Tensor>,    // ∂x of every block of the vocabulary (blocks, P, D)
    pub(crate) ln_f_grad: Option<Tensor>, // ∂γ, ∂β (2, D)
}

/// Rows of one range of the unembedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) range: usize,
    pub(crate) first_row: usize,
    pub(crate) count: usize,
}

impl Piece {
    fn rows<'a>(&self, ranges: &'a [VocabRange]) -> Matrix<'a> {
        Matrix::of(&ranges[self.range].rows).rows(self.first_row, self.count)
    }
}

/// Cuts the ranges of an unembedding so that P rows of logits of each piece can be bound.
fn cut(gpu: &Gpu, ranges: &[VocabRange], positions: usize) -> Vec<Piece> {
    let capabilities = gpu.capabilities();
    let most =
        (capabilities.max_binding.min(capabilities.max_buffer) / (4 * positions as u64)).max(1) as usize;
    // Multiples of 4 keep vector loads possible within a range.
    let most = if most >= 4 { most / 4 * 4 } else { most };
    let mut pieces = Vec::new();
    for (range, vocab) in ranges.iter().enumerate() {
        for first_row in (0..vocab.count()).step_by(most) {
            pieces.push(Piece { range, first_row, count: most.min(vocab.count() - first_row) });
        }
    }
    pieces
}

impl Head {
    pub(crate) fn new(
        gpu: &Gpu,
        ranges: &[VocabRange],
        width: usize,
        form: &Form,
        first_position: usize,
        norm_gradient: bool,
    ) -> Result<Head, ModelError> {
        let (kind, positions) = (form.loss, form.loss_rows());
        let pieces = cut(gpu, ranges, positions);
        let blocks: usize = pieces.iter().map(|piece| piece.count.div_ceil(SUM_BLOCK)).sum();
        let block_sums = if kind != LossKind::None && positions <= FEW_POSITIONS {
            Some(gpu.tensor([blocks * positions, width])?)
        } else {
            None
        };
        let per_piece = || -> Result<Vec<Tensor>, ModelError> {
            pieces.iter().map(|piece| Ok(gpu.tensor([positions, piece.count])?)).collect()
        };
        Ok(Head {
            kind,
            first_position,
            normed: gpu.tensor([positions, width])?,
            stats: gpu.tensor([positions, 2])?,
            logits: per_piece()?,
            targets: gpu.allocate([positions].into(), retrograd_gpu::Dtype::U32)?,
            loss: gpu.tensor([1])?,
            row_loss: gpu.tensor([positions])?,
            mean_over: form.mean_over,
            delta: if kind == LossKind::None { Vec::new() } else { per_piece()? },
            d_normed: gpu.tensor([positions, width])?,
            block_sums,
            ln_f_grad: if norm_gradient { Some(gpu.tensor([2, width])?) } else { None },
            pieces,
        })
    }

    /// The logits, `[P, V]`.
    pub(crate) fn read_logits(&self, gpu: &Gpu) -> Result<Vec<f32>, ModelError> {
        let pieces: Vec<&Tensor> = self.logits.iter().collect();
        let read = gpu.read_many(&pieces)?.into_iter().map(HostData::into_f32).collect::<Vec<_>>();
        Ok(match <[Vec<f32>; 1]>::try_from(read) {
            Ok([whole]) => whole,
            Err(pieces) => side_by_side(&pieces, self.positions()),
        })
    }

    /// P
    pub(crate) fn positions(&self) -> usize {
        self.targets.len()
    }

    /// Records ln_f and the logits. `resid` is the last block's output, (N, D).
    pub(crate) fn logits(
        &self,
        recorder: &mut Recorder,
        ln_f: &Norm,
        ranges: &[VocabRange],
        epsilon: f32,
        resid: &Tensor,
    ) -> Result<(), ModelError> {
        // x = ln_f(r)
        ops::layer_norm(
            recorder,
            ops::LayerNorm {
                x: resid,
                x_row: self.first_position,
                gamma: &ln_f.gamma,
                beta: &ln_f.beta,
                epsilon,
                y: &self.normed,
                stats: &self.stats,
            },
        )?;
        // logits = x·Eᵀ
        for (piece, logits) in self.pieces.iter().zip(&self.logits) {
            ops::gemm(recorder, Gemm::nt(&self.normed, piece.rows(ranges), logits))?;
        }
        Ok(())
    }

    /// Records L and, where it is the cross-entropy, δ_logits.
    pub(crate) fn loss(&self, recorder: &mut Recorder) -> Result<(), ModelError> {
        match self.kind {
            LossKind::None => {}
            LossKind::CrossEntropy => ops::cross_entropy(
                recorder,
                ops::CrossEntropy {
                    logits: &self.logits,
                    targets: &self.targets,
                    mean_over: self.mean_over,
                    delta: &self.delta,
                    row_loss: &self.row_loss,
                    loss: &self.loss,
                },
            )?,
            LossKind::Linear => {
                // Each row's share of each piece, then both sums.
                let (p, pieces) = (self.positions(), self.pieces.len());
                let parts = recorder.gpu().tensor([pieces, p])?;
                for (piece, (a, b)) in self.logits.iter().zip(&self.delta).enumerate() {
                    let (out, out_index) = (&parts, piece * p);
                    ops::head_products(
                        recorder,
                        ops::HeadProducts { a, b, batch: p, heads: 1, out, out_index },
                    )?;
                }
                let (x, out) = (&parts, &self.row_loss);
                ops::column_sum(recorder, ops::ColumnSum { x, first_column: 0, out })?;
                let (a, out) = (&self.row_loss, &self.loss);
                ops::weighted_sum(recorder, ops::WeightedSum { a, b: None, scale: 1.0, out, out_index: 0 })?;
            }
        }
        Ok(())
    }

    /// Records ∂x from δ_logits.
    fn d_normed(&self, recorder: &mut Recorder, ranges: &[VocabRange]) -> Result<(), ModelError> {
        // ∂x = δ_logits·E, summed over the vocabulary block by block
        let mut accumulate = false;
        if let Some(sums) = &self.block_sums {
            let (p, d) = (self.positions(), self.d_normed.shape().columns());
            let mut at = 0;
            for (piece, delta) in self.pieces.iter().zip(&self.delta) {
                // All whole blocks of the piece, one map each, then what is left.
                let whole = piece.count / SUM_BLOCK;
                let rest = piece.count % SUM_BLOCK;
                for (blocks, first, count) in [(whole, 0, SUM_BLOCK), (1, whole * SUM_BLOCK, rest)] {
                    if blocks == 0 || count == 0 {
                        continue;
                    }
                    let columns = Matrix::of(delta).columns(first, count).strides(SUM_BLOCK, 0);
                    let rows = piece.rows(ranges).rows(first, count).strides(SUM_BLOCK * d, 0);
                    let out = Matrix::of(sums).rows(at * p, p).strides(p * d, 0);
                    ops::gemm(recorder, Gemm::nn(columns, rows, out).maps(blocks, 1))?;
                    at += blocks;
                }
            }
            let (x, out) = (&sums.reshape([at, p * d]), &self.d_normed.reshape([p * d]));
            return Ok(ops::column_sum(recorder, ops::ColumnSum { x, first_column: 0, out })?);
        }
        for (piece, delta) in self.pieces.iter().zip(&self.delta) {
            for first in (0..piece.count).step_by(SUM_BLOCK) {
                let count = SUM_BLOCK.min(piece.count - first);
                let columns = Matrix::of(delta).columns(first, count);
                let rows = piece.rows(ranges).rows(first, count);
                ops::gemm(recorder, Gemm::nn(columns, rows, &self.d_normed).accumulate(accumulate))?;
                accumulate = true;
            }
        }
        Ok(())
    }

    /// Records ∂x and δ (N, D) from δ_logits.
    pub(crate) fn backward(
        &self,
        recorder: &mut Recorder,
        ln_f: &Norm,
        ranges: &[VocabRange],
        resid: &Tensor,
        d_resid: &Tensor,
    ) -> Result<(), ModelError> {
        self.d_normed(recorder, ranges)?;
        // δ = LNᵇ(∂x)
        if self.positions() < d_resid.shape().rows() {
            recorder.clear(d_resid);
        }
        ops::layer_norm_backward(
            recorder,
            ops::LayerNormBackward {
                dy: &self.d_normed,
                x: resid,
                x_row: self.first_position,
                gamma: &ln_f.gamma,
                stats: &self.stats,
                upstream: None,
                dx: d_resid,
            },
        )?;
        if let Some(d_gamma_beta) = &self.ln_f_grad {
            ops::layer_norm_grad(
                recorder,
                ops::LayerNormGrad {
                    dy: &self.d_normed,
                    x: resid,
                    x_row: self.first_position,
                    stats: &self.stats,
                    d_gamma_beta,
                },
            )?;
        }
        Ok(())
    }

    /// Records ∂E = δ_logitsᵀ·x into ranges that match the unembedding's.
    pub(crate) fn unembedding_gradient(
        &self,
        recorder: &mut Recorder,
        gradient: &[VocabRange],
    ) -> Result<(), ModelError> {
        for (piece, delta) in self.pieces.iter().zip(&self.delta) {
            ops::gemm(recorder, Gemm::tn(delta, &self.normed, piece.rows(gradient)))?;
        }
        Ok(())
    }
}
