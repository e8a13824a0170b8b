//! The embeddings' gradients: of the token table from the logits and from the lookup, and of the positions.

use crate::ModelError;
use crate::block::Dims;
use crate::head::Head;
use crate::parameters::Parameters;
use retrograd_gpu::ops::{self, VocabRange};
use retrograd_gpu::{Dtype, Gpu, Recorder, Tensor};

/// Rows sorted by token, for the embedding's gradient.
pub(crate) struct SortedTokens {
    unique: Tensor,
    offsets: Tensor,
    order: Tensor,
}

/// ∂wte from the logits and from the lookup, ∂wpe, and ln_f's gradients.
pub(crate) fn embedding_gradients(
    recorder: &mut Recorder,
    dims: &Dims,
    gradients: &Parameters,
    head: &Head,
    rows: &SortedTokens,
    delta: &Tensor,
) -> Result<(), ModelError> {
    match &gradients.untied_head {
        None => head.unembedding_gradient(recorder, &gradients.wte)?,
        Some(untied) => {
            head.unembedding_gradient(recorder, untied)?;
            for range in &gradients.wte {
                recorder.clear(&range.rows);
            }
        }
    }
    for VocabRange { first, rows: d_wte } in &gradients.wte {
        ops::embedding_backward(
            recorder,
            ops::EmbeddingBackward {
                unique: &rows.unique,
                offsets: &rows.offsets,
                order: &rows.order,
                delta,
                first: *first,
                d_wte,
                accumulate: true,
            },
        )?;
    }
    ops::position_embedding_backward(
        recorder,
        ops::PositionEmbeddingBackward {
            delta,
            batch: dims.batch,
            context: dims.context,
            d_wpe: &gradients.wpe,
        },
    )?;
    if let Some(both) = &head.ln_f_grad {
        recorder.copy(both, 0, &gradients.ln_f.gamma, 0, dims.width)?;
        recorder.copy(both, dims.width, &gradients.ln_f.beta, 0, dims.width)?;
    }
    Ok(())
}

impl SortedTokens {
    pub(crate) fn new(gpu: &Gpu, rows: usize) -> Result<Self, ModelError> {
        let u32s = |count: usize| gpu.allocate([count].into(), Dtype::U32);
        Ok(SortedTokens { unique: u32s(rows)?, offsets: u32s(rows + 1)?, order: u32s(rows)? })
    }

    pub(crate) fn write(&self, gpu: &Gpu, tokens: &[u32]) -> Result<(), ModelError> {
        let rows = tokens.len();
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_by_key(|&row| (tokens[row as usize], row));
        let mut unique = vec![0; rows];
        let mut offsets = vec![rows as u32; rows + 1];
        let mut distinct = 0;
        for (at, &row) in order.iter().enumerate() {
            let token = tokens[row as usize];
            if at == 0 || token != unique[distinct - 1] {
                unique[distinct] = token;
                offsets[distinct] = at as u32;
                distinct += 1;
            }
        }
        gpu.write_u32(&self.unique, &unique)?;
        gpu.write_u32(&self.offsets, &offsets)?;
        gpu.write_u32(&self.order, &order)?;
        Ok(())
    }
}
