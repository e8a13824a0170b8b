//! What every head does to the answer, each replaced in turn.
//!
//! A head's change begins behind its own block's mixing: everything before is that of the unchanged pass, which runs once.
//! The forward passes of a layer's heads go through the rest of the model as one batch, and start there:
//!
//! ```text
//! o_h ← 0, or the given values at the last position      r' = r + concat(o)·Wo + bo      … → logits
//! ```

use crate::ModelError;
use crate::block::{self, Activations, Dims};
use crate::form::Form;
use crate::forward_batch::filled;
use crate::gpt2::Gpt2;
use crate::head::Head as OutputHead;
use crate::memory::{Changes, Memory};
use crate::program::{Cut, Program, Purpose};
use retrograd_formats::{
    BlockSite, Capture, Head, Interventions, Layer, Objective, Site, TokenId, TraceRequest,
};
use retrograd_gpu::{Pass, Recorder, Tensor, ops};

/// What stands in for a head's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// Nothing, at every position: the head is silenced.
    Zero,
    /// Given values at the last position, the head's mean over other prompts: activation patching.
    Given,
}

/// Forward passes with one head replaced, for every head, over prompts of one length.
pub struct HeadEffects {
    model: Gpt2,
    /// The unchanged pass, which leaves what every layer's passes begin with.
    base: Program,
    prompts: usize,
    used: usize,
    /// By layer: the rest of the model with each of its heads replaced.
    layers: Vec<Pass>,
    fill: Option<Tensor>, // (sequences, D)
    head: OutputHead,
}

impl Gpt2 {
    /// Records the passes for up to `prompts` prompts of `tokens` tokens.
    ///
    /// # Errors
    /// When the sizes do not fit the model, or the device cannot hold the passes.
    pub fn head_effects(
        &self,
        prompts: usize,
        tokens: usize,
        replacement: Replacement,
    ) -> Result<HeadEffects, ModelError> {
        TraceRequest::new(vec![TokenId(0); tokens], Objective::Target(TokenId(0))).resolve(self.config())?;
        if prompts == 0 {
            return Err(ModelError::invalid("batch", "has no prompts"));
        }
        let (gpu, config, parameters) = (self.gpu(), self.config(), &self.0.parameters);
        let (heads, width, unchanged) = (config.n_head, config.n_embd, Interventions::default());
        let kept = (0..config.n_layer).flat_map(|layer| {
            [BlockSite::ResidPre, BlockSite::AttnProjInput].map(|site| Site::Block(Layer(layer), site))
        });
        let last_position = Form::logits_from(tokens, tokens - 1);
        let base =
            self.build(last_position.repeated(prompts), &Purpose::Observe(Capture::only(kept)), &unchanged)?;

        let form = last_position.repeated(prompts * heads);
        let dims = Dims::of(config, form.batch, tokens);
        let purpose = Purpose::Observe(Capture::none());
        let mut memory = Memory::new(gpu, dims, form, config.n_layer, &purpose, Cut::None);
        let activations = memory.activations(Changes { interventions: &unchanged, switches: false })?;
        let head = OutputHead::new(gpu, parameters.head(), width, &form, 0, false)?;
        let resid_pre = memory.own([dims.rows(), width])?;
        let attended = memory.own([dims.rows(), width])?;
        let replaced = memory.own([dims.rows(), width])?;
        let mask: Vec<u32> =
            (0..form.batch * heads).map(|at| u32::from(at / heads % heads == at % heads)).collect();
        let mask = gpu.upload_u32([form.batch, heads], &mask)?;
        let fill = match replacement {
            Replacement::Zero => None,
            Replacement::Given => Some(memory.own([form.batch, width])?),
        };
        let first_position = if fill.is_some() { tokens - 1 } else { 0 };

        let mut layers = Vec::with_capacity(config.n_layer);
        for layer in 0..config.n_layer {
            let mut recorder = Recorder::new(gpu);
            let from = &base.activations[layer];
            let sequence = tokens * width;
            for at in 0..form.batch {
                let prompt = at / heads;
                recorder.copy(&from.resid_pre, prompt * sequence, &resid_pre, at * sequence, sequence)?;
                recorder.copy(&from.attended, prompt * sequence, &attended, at * sequence, sequence)?;
            }
            let (x, replaced_heads, fill) = (&attended, &mask, fill.as_ref());
            let op = ops::ReplaceHeads { x, replaced: replaced_heads, fill, first_position, out: &replaced };
            ops::replace_heads(&mut recorder, op)?;
            let entry = Activations {
                resid_pre: resid_pre.clone(),
                attended: replaced.clone(),
                ..activations[layer].clone()
            };
            block::from_mixed(&mut recorder, &dims, &parameters.blocks[layer], &entry)?;
            for (block, a) in parameters.blocks.iter().zip(&activations).skip(layer + 1) {
                block::forward(&mut recorder, &dims, block, a)?;
            }
            let last = activations.last().map_or(&resid_pre, |a| &a.resid_post);
            // With one token every row is the last, and there is no tail.
            head.logits(&mut recorder, &parameters.ln_f, parameters.head(), dims.epsilon, last)?;
            layers.push(recorder.finish()?);
        }
        Ok(HeadEffects { model: self.clone(), base, prompts, used: 0, layers, fill, head })
    }
}

impl HeadEffects {
    /// Prompts that there is room for.
    pub fn prompts(&self) -> usize {
        self.prompts
    }

    /// Runs the unchanged pass and the pass of every head on these prompts. `look` is shown the prompt's index, the head
    /// that was replaced (`None` in the unchanged pass, which comes first) and the logits after the last token, `[V]`.
    ///
    /// `means`, `[n_layer][D]`, is what [`Replacement::Given`] replaces by; it is not read otherwise.
    ///
    /// # Errors
    /// When the prompts are too many, or do not fit; when the means are missing, not finite or of another size.
    pub fn run(
        &mut self,
        prompts: &[Vec<TokenId>],
        means: Option<&[Vec<f32>]>,
        mut look: impl FnMut(usize, Option<Head>, &[f32]),
    ) -> Result<(), ModelError> {
        let (gpu, config) = (self.model.gpu().clone(), self.model.config().clone());
        self.write_prompts(prompts)?;
        let means = self.check_means(means)?;
        self.base.run(&gpu)?;
        let logits = self.base.head.read_logits(&gpu)?;
        for (prompt, logits) in logits.chunks_exact(config.vocab_size).take(self.used).enumerate() {
            look(prompt, None, logits);
        }
        for (layer, pass) in self.layers.iter().enumerate() {
            if let (Some(fill), Some(means)) = (&self.fill, means) {
                gpu.write(fill, &means[layer].repeat(self.prompts * config.n_head))?;
            }
            gpu.run(pass)?;
            let logits = self.head.read_logits(&gpu)?;
            let sequences = logits.chunks_exact(config.vocab_size).take(self.used * config.n_head);
            for (at, logits) in sequences.enumerate() {
                look(at / config.n_head, Some(Head { layer, head: at % config.n_head }), logits);
            }
        }
        Ok(())
    }

    fn write_prompts(&mut self, prompts: &[Vec<TokenId>]) -> Result<(), ModelError> {
        let tokens = filled(self.model.config(), prompts, self.prompts, self.base.form.context)?;
        self.base.write_tokens(self.model.gpu(), &tokens)?;
        self.used = prompts.len();
        Ok(())
    }

    fn check_means<'a>(&self, means: Option<&'a [Vec<f32>]>) -> Result<Option<&'a [Vec<f32>]>, ModelError> {
        if self.fill.is_none() {
            return Ok(None);
        }
        let (layers, width) = (self.model.config().n_layer, self.model.config().n_embd);
        let fits = |means: &&[Vec<f32>]| {
            means.len() == layers
                && means.iter().all(|mean| mean.len() == width && mean.iter().all(|v| v.is_finite()))
        };
        match means.filter(fits) {
            Some(means) => Ok(Some(means)),
            None => Err(ModelError::invalid(
                "means of the heads' outputs",
                format!("must be given: {layers} layers of {width} finite numbers"),
            )),
        }
    }
}
