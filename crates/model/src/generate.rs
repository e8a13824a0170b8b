//! Generation with a cache of keys and values: the prompt in one pass, then a token at a time.

use crate::ModelError;
use crate::gpt2::Gpt2;
use crate::memory::keep_mask;
use crate::parameters::Block;
use crate::program::Program;
use crate::sample::{Sampler, SamplingOptions};
use retrograd_formats::{Interventions, TokenId};
use retrograd_gpu::ops::{self, Gemm, Matrix};
use retrograd_gpu::{Dtype, Gpu, HostData, Pass, Recorder, Tensor};
use std::ops::ControlFlow;

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// At most this many new tokens.
    pub max_new_tokens: usize,
    /// How they are drawn.
    pub sampling: SamplingOptions,
    /// Ends the text; it is not part of the result.
    pub stop: Option<TokenId>,
    /// Silenced heads act on every token; an attention patch acts on the prompt's positions, for which
    /// alone it has maps.
    pub interventions: Interventions,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            max_new_tokens: 32,
            sampling: SamplingOptions::default(),
            stop: None,
            interventions: Interventions::default(),
        }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// As many tokens as asked for.
    Length,
    /// The model has no further position.
    ContextFull,
    /// The stop token was drawn.
    Stop,
    /// The caller ended it.
    Cancelled,
}

/// New tokens and why there are no more.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The new tokens, without the prompt.
    pub ids: Vec<TokenId>,
    /// Why it ended.
    pub finish: Finish,
}

impl Gpt2 {
    /// Continues a prompt. `on_token` sees each token as it is drawn and may end the generation.
    pub fn generate(
        &self,
        prompt: &[TokenId],
        options: &GenerateOptions,
        mut on_token: impl FnMut(TokenId) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let mut sampler = Sampler::new(options.sampling)?;
        let mut ids = Vec::new();
        let finish = 'tokens: {
            if options.max_new_tokens == 0 {
                // The prompt is checked all the same.
                self.prefill(prompt, &options.interventions)?;
                break 'tokens Finish::Length;
            }
            let prefill = self.prefill(prompt, &options.interventions)?;
            let mut logits = self.read_logits(&prefill)?;
            let capacity = (prompt.len() + options.max_new_tokens).min(self.config().n_positions);
            let decoder = Decoder::new(self, &prefill, capacity, &options.interventions)?;
            drop(prefill);
            loop {
                let id = sampler.next(&logits);
                if options.stop == Some(id) {
                    break Finish::Stop;
                }
                ids.push(id);
                if on_token(id).is_break() {
                    break Finish::Cancelled;
                }
                if ids.len() == options.max_new_tokens {
                    break Finish::Length;
                }
                let position = prompt.len() + ids.len() - 1;
                if position == self.config().n_positions {
                    break Finish::ContextFull;
                }
                logits = decoder.step(self.gpu(), id, position)?;
            }
        };
        Ok(Generation { ids, finish })
    }
}

/// The pass that takes one more token.
struct Decoder {
    token: Tensor,    // (1) u32
    position: Tensor, // (1) u32
    logits: Vec<Tensor>,
    pass: Pass,
}

impl Decoder {
    /// Copies the prompt's keys and values into caches of `capacity` positions and records the pass.
    fn new(
        model: &Gpt2,
        prefill: &Program,
        capacity: usize,
        interventions: &Interventions,
    ) -> Result<Decoder, ModelError> {
        let (gpu, config, parameters) = (model.gpu(), model.config(), &model.0.parameters);
        let (d, h) = (config.n_embd, config.n_head);
        let epsilon = config.layer_norm_epsilon as f32;
        let prompt = prefill.form.context;
        let row = |columns: usize| gpu.tensor([1, columns]);
        let token = gpu.allocate([1].into(), Dtype::U32)?;
        let position = gpu.allocate([1].into(), Dtype::U32)?;
        let buffers = Buffers {
            normed: row(d)?,
            stats: row(2)?,
            qkv: row(3 * d)?,
            attended: row(d)?,
            scores: gpu.tensor([h, capacity])?,
            resid_mid: row(d)?,
            pre_activation: row(config.n_inner)?,
            activation: row(config.n_inner)?,
        };

        let mut copies = Recorder::new(gpu);
        let mut recorder = Recorder::new(gpu);
        let mut resid = row(d)?;
        let mut next = row(d)?;
        ops::embedding(
            &mut recorder,
            ops::Embedding {
                tokens: &token,
                start: &position,
                context: 1,
                wte: &parameters.wte,
                wpe: &parameters.wpe,
                x: &resid,
            },
        )?;
        for (layer, block) in parameters.blocks.iter().enumerate() {
            let cache = gpu.tensor([capacity, 3 * d])?;
            copies.copy(&prefill.activations[layer].qkv, 0, &cache, 0, prompt * 3 * d)?;
            let keep = keep_mask(interventions, layer, h);
            let keep = keep.map(|mask| gpu.upload_u32([h], &mask)).transpose()?;
            buffers.block(
                &mut recorder,
                block,
                epsilon,
                (&position, &cache, keep.as_ref()),
                &resid,
                &next,
            )?;
            std::mem::swap(&mut resid, &mut next);
        }
        let ln_f = &parameters.ln_f;
        norm(&mut recorder, &resid, (&ln_f.gamma, &ln_f.beta), epsilon, &buffers.normed, &buffers.stats)?;
        let mut logits = Vec::new();
        for piece in &prefill.head.pieces {
            let out = row(piece.count)?;
            let rows = Matrix::of(&parameters.head()[piece.range].rows).rows(piece.first_row, piece.count);
            ops::gemm(&mut recorder, Gemm::nt(&buffers.normed, rows, &out))?;
            logits.push(out);
        }
        gpu.run(&copies.finish()?)?;
        Ok(Decoder { token, position, logits, pass: recorder.finish()? })
    }

    /// Logits `[V]` after `id` at `position`.
    fn step(&self, gpu: &Gpu, id: TokenId, position: usize) -> Result<Vec<f32>, ModelError> {
        gpu.write_u32(&self.token, &[id.0])?;
        gpu.write_u32(&self.position, &[position as u32])?;
        gpu.run(&self.pass)?;
        let pieces: Vec<&Tensor> = self.logits.iter().collect();
        let read = gpu.read_many(&pieces)?;
        Ok(read
            .into_iter()
            .flat_map(|piece| match piece {
                HostData::F32(values) => values,
                HostData::U32(_) => Vec::new(),
            })
            .collect())
    }
}

/// One row of every activation, shared by all blocks.
struct Buffers {
    normed: Tensor,         // u, m, x (1, D)
    stats: Tensor,          // (1, 2)
    qkv: Tensor,            // (1, 3D)
    attended: Tensor,       // o (1, D)
    scores: Tensor,         // (H, capacity)
    resid_mid: Tensor,      // r' (1, D)
    pre_activation: Tensor, // f (1, I)
    activation: Tensor,     // g (1, I)
}

impl Buffers {
    /// The block's forward equations for one row; see `block/mod.rs`.
    fn block(
        &self,
        recorder: &mut Recorder,
        block: &Block,
        epsilon: f32,
        (position, cache, keep): (&Tensor, &Tensor, Option<&Tensor>),
        resid: &Tensor,
        next: &Tensor,
    ) -> Result<(), ModelError> {
        // u = LN1(r), [q k v] = u·Wqkv + bqkv
        norm(recorder, resid, (&block.ln_1.gamma, &block.ln_1.beta), epsilon, &self.normed, &self.stats)?;
        let qkv = Gemm::nn(&self.normed, &block.c_attn.weight, &self.qkv).bias(&block.c_attn.bias);
        ops::gemm(recorder, qkv)?;
        // o = softmax(q·Kᵀ/√d)·V
        ops::attention_decode(
            recorder,
            ops::AttentionDecode {
                position,
                qkv: &self.qkv,
                cache,
                scores: &self.scores,
                keep,
                o: &self.attended,
            },
        )?;
        // r' = r + o·Wo + bo
        let wo = &block.attn_proj;
        ops::gemm(
            recorder,
            Gemm::nn(&self.attended, &wo.weight, &self.resid_mid).bias(&wo.bias).residual(resid),
        )?;
        // m = LN2(r'), g = gelu_new(m·W1 + b1), r'' = r' + g·W2 + b2
        let (ln_2, w1, w2) = (&block.ln_2, &block.c_fc, &block.mlp_proj);
        norm(recorder, &self.resid_mid, (&ln_2.gamma, &ln_2.beta), epsilon, &self.normed, &self.stats)?;
        let hidden =
            Gemm::nn(&self.normed, &w1.weight, &self.activation).bias(&w1.bias).gelu(&self.pre_activation);
        ops::gemm(recorder, hidden)?;
        let out = Gemm::nn(&self.activation, &w2.weight, next).bias(&w2.bias).residual(&self.resid_mid);
        ops::gemm(recorder, out)?;
        Ok(())
    }
}

fn norm(
    recorder: &mut Recorder,
    x: &Tensor,
    (gamma, beta): (&Tensor, &Tensor),
    epsilon: f32,
    y: &Tensor,
    stats: &Tensor,
) -> Result<(), ModelError> {
    let op = ops::LayerNorm { x, x_row: 0, gamma, beta, epsilon, y, stats };
    Ok(ops::layer_norm(recorder, op)?)
}
