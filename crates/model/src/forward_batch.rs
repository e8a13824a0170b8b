//! Forward passes over many sequences whose interventions change from run to run.

use crate::ModelError;
use crate::form::Form;
use crate::gpt2::Gpt2;
use crate::memory::Changes;
use crate::program::{Cut, Program, Purpose};
use retrograd_formats::{
    AttentionPatch, Capture, Config, Head, Interventions, Objective, TokenId, TraceRequest,
};
use std::collections::BTreeSet;

/// A recorded forward pass over sequences of one length. Every head of every sequence can be silenced by itself, and a
/// patch has a factor for each sequence; a run computes again only what they change.
pub struct ForwardBatch {
    model: Gpt2,
    program: Program,
    /// Sequences that were set, of as many as the program has.
    used: usize,
    /// Whether the tokens are new, so that nothing of the last run holds.
    fresh: bool,
}

impl Gpt2 {
    /// Records forward passes over up to `sequences` sequences of `tokens` tokens, with or without an attention patch
    /// whose factors [`set_alpha`](ForwardBatch::set_alpha) changes.
    ///
    /// ```no_run
    /// # use retrograd_formats::{Head, TokenId};
    /// # use retrograd_model::{Gpt2, Precision};
    /// # let gpu = retrograd_gpu::Gpu::open(&Default::default())?;
    /// # let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    /// let mut batch = model.forward_batch(2, 3, None)?;
    /// batch.set_tokens(&[vec![TokenId(0), TokenId(5), TokenId(7)], vec![TokenId(0), TokenId(6), TokenId(7)]])?;
    /// let whole = batch.logits()?; // one row of V logits for each sequence
    /// batch.silence(&[Head { layer: 1, head: 2 }].into())?;
    /// let without = batch.logits()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the sizes or the patch do not fit the model, or the device cannot hold the pass.
    pub fn forward_batch(
        &self,
        sequences: usize,
        tokens: usize,
        patch: Option<&AttentionPatch>,
    ) -> Result<ForwardBatch, ModelError> {
        let interventions = Interventions { patch: patch.cloned(), ..Interventions::default() };
        // The checks are those of a trace; any tokens will do.
        let probe = TraceRequest::new(vec![TokenId(0); tokens], Objective::Target(TokenId(0)));
        probe.interventions(interventions.clone()).resolve(self.config())?;
        if sequences == 0 {
            return Err(ModelError::invalid("batch", "has no sequences"));
        }
        let form = Form::logits_from(tokens, tokens - 1).repeated(sequences);
        // Without a switch nothing before the first patched block changes.
        let first = patch.and_then(|patch| patch.maps.keys().next().copied()).unwrap_or(0);
        let changes = Changes { interventions: &interventions, switches: patch.is_none() };
        let purpose = Purpose::Observe(Capture::none());
        let program = self.build_cut(form, &purpose, changes, Cut::Mixing(first))?;
        Ok(ForwardBatch { model: self.clone(), program, used: 0, fresh: true })
    }
}

impl ForwardBatch {
    /// Sequences that there is room for.
    pub fn sequences(&self) -> usize {
        self.program.form.batch
    }

    /// Tokens of each.
    pub fn tokens(&self) -> usize {
        self.program.form.context
    }

    /// The sequences of the next runs, as many as there is room for at most.
    ///
    /// # Errors
    /// When there are none or too many, or one has another length or a token that the model does not know.
    pub fn set_tokens(&mut self, sequences: &[Vec<TokenId>]) -> Result<(), ModelError> {
        let tokens = filled(self.model.config(), sequences, self.sequences(), self.tokens())?;
        self.program.write_tokens(self.model.gpu(), &tokens)?;
        (self.used, self.fresh) = (sequences.len(), true);
        Ok(())
    }

    /// Silences these heads, and no others, in every sequence from the next run on.
    pub fn silence(&mut self, heads: &BTreeSet<Head>) -> Result<(), ModelError> {
        self.silence_each(&vec![heads.clone(); self.sequences()])
    }

    /// Silences heads in each sequence by itself from the next run on; those that are not listed speak.
    ///
    /// # Errors
    /// When the batch has a patch, or the model no such head.
    pub fn silence_each(&mut self, heads: &[BTreeSet<Head>]) -> Result<(), ModelError> {
        for set in heads {
            let silenced = Interventions { ablate: set.clone(), ..Interventions::default() };
            silenced.check(self.model.config(), self.tokens())?;
        }
        if self.program.activations.iter().any(|a| a.ablation.is_none()) {
            return Err(ModelError::invalid(
                "batch",
                "was recorded with a patch and has no switches for heads",
            ));
        }
        let mut sets = heads.to_vec();
        sets.resize(self.sequences(), BTreeSet::new());
        self.program.write_silenced(self.model.gpu(), &sets)
    }

    /// The factors of the patch from the next run on: one for each sequence; those that are not given are 0.
    ///
    /// # Errors
    /// When one is not finite.
    pub fn set_alpha(&mut self, alpha: &[f32]) -> Result<(), ModelError> {
        if alpha.iter().any(|alpha| !alpha.is_finite()) {
            return Err(ModelError::invalid("alpha", "must be a finite number"));
        }
        let mut alpha = alpha.to_vec();
        alpha.resize(self.sequences(), 0.0);
        self.program.write_alpha(self.model.gpu(), &alpha)
    }

    /// Runs, and returns the logits after the last token of each sequence that was set, `[sequences][V]`.
    pub fn logits(&mut self) -> Result<Vec<Vec<f32>>, ModelError> {
        if self.used == 0 {
            return Err(ModelError::invalid("batch", "has no tokens yet: set them first"));
        }
        let gpu = self.model.gpu();
        match std::mem::replace(&mut self.fresh, false) {
            true => self.program.run(gpu)?,
            false => self.program.run_from_cut(gpu)?,
        }
        let logits = self.program.head.read_logits(gpu)?;
        let vocabulary = self.model.config().vocab_size;
        Ok(logits.chunks_exact(vocabulary).take(self.used).map(<[f32]>::to_vec).collect())
    }
}

/// The tokens of up to `room` sequences of one length, one after the other; what is left over repeats the first.
pub(crate) fn filled(
    config: &Config,
    sequences: &[Vec<TokenId>],
    room: usize,
    length: usize,
) -> Result<Vec<u32>, ModelError> {
    if sequences.is_empty() || sequences.len() > room {
        let reason = format!("{} sequences; there is room for 1 to {room}", sequences.len());
        return Err(ModelError::invalid("batch", reason));
    }
    let mut tokens = Vec::with_capacity(room * length);
    for ids in sequences {
        TraceRequest::new(ids.clone(), Objective::Target(TokenId(0))).resolve(config)?;
        if ids.len() != length {
            let reason = format!("a sequence has {} tokens; the batch has {length}", ids.len());
            return Err(ModelError::invalid("batch", reason));
        }
        tokens.extend(ids.iter().map(|id| id.0));
    }
    for _ in sequences.len()..room {
        tokens.extend(sequences[0].iter().map(|id| id.0));
    }
    Ok(tokens)
}
