//! Forward passes whose result is more, or less, than the logits after the last token.

use crate::ModelError;
use crate::form::Form;
use crate::gpt2::{Gpt2, ProgramKey};
use crate::program::Purpose;
use crate::trace::read_sites;
use retrograd_formats::{
    BlockSite, Capture, HostTensor, Interventions, Objective, Site, TokenId, TraceRead as _, TraceRequest,
};
use retrograd_gpu::{Dtype, Recorder, ops};

impl Gpt2 {
    /// Runs a forward pass and returns the logits from position `first` on, `[T − first, V]`.
    pub fn logits_from(&self, ids: &[TokenId], first: usize) -> Result<HostTensor, ModelError> {
        let mut read = self.observe_from(ids, first, &[Site::Logits])?;
        read.pop().ok_or_else(|| ModelError::invalid("logits", "were not returned"))
    }

    /// Runs a forward pass and returns some of its tensors: [`Site::Logits`] (after the last token, `[1, V]`),
    /// [`Site::LnFInput`], [`Site::LmHeadInput`] and whatever a block computes on its way forward.
    ///
    /// # Errors
    /// When a site belongs to the backward pass, or the model has no such layer.
    pub fn observe(&self, ids: &[TokenId], sites: &[Site]) -> Result<Vec<HostTensor>, ModelError> {
        self.observe_from(ids, ids.len().saturating_sub(1), sites)
    }

    fn observe_from(
        &self,
        ids: &[TokenId],
        first: usize,
        sites: &[Site],
    ) -> Result<Vec<HostTensor>, ModelError> {
        // The checks are those of a trace; any target will do.
        TraceRequest::new(ids.to_vec(), Objective::Target(TokenId(0))).resolve(self.config())?;
        if first >= ids.len() {
            return Err(ModelError::invalid(
                "logits",
                format!("position {first} is not one of the {} tokens", ids.len()),
            ));
        }
        let layers = self.config().n_layer;
        for site in sites {
            if let Some(layer) = site.layer().filter(|layer| layer.0 >= layers) {
                let reason = format!("layer {layer} is none of the model's, which are 0 to {}", layers - 1);
                return Err(ModelError::invalid(site.to_string(), reason));
            }
            if !is_forward(*site) {
                return Err(ModelError::invalid(site.to_string(), "is not computed by a forward pass"));
            }
        }
        let form = Form::logits_from(ids.len(), first);
        let mut kept: Vec<Site> = sites.to_vec();
        kept.sort();
        kept.dedup();
        let key = ProgramKey::observe(form, kept);
        let program = match self.checkout(&key) {
            Some(program) => program,
            None => {
                let purpose = Purpose::Observe(Capture::only(sites.iter().copied()));
                self.build(form, &purpose, &Interventions::default())?
            }
        };
        let tokens: Vec<u32> = ids.iter().map(|id| id.0).collect();
        program.write_tokens(self.gpu(), &tokens)?;
        program.run(self.gpu())?;
        let read = read_sites(self, &program, ids, sites)?;
        self.checkin(key, program);
        Ok(read)
    }

    /// The loss of a request by a forward pass alone; what it captures is not looked at.
    pub fn loss(&self, request: &TraceRequest) -> Result<f32, ModelError> {
        if !request.interventions.is_empty() {
            // Rare enough to take the long way.
            let capture = Capture::none();
            return Ok(self.trace(&request.clone().capture(capture))?.loss()?);
        }
        let objective = request.resolve(self.config())?;
        let form = Form::of(request.ids.len(), &objective);
        let key = ProgramKey::forward(form);
        let program = match self.checkout(&key) {
            Some(program) => program,
            None => self.build(form, &Purpose::Forward, &Interventions::default())?,
        };
        let tokens: Vec<u32> = request.ids.iter().map(|id| id.0).collect();
        program.write_tokens(self.gpu(), &tokens)?;
        self.write_objectives(&program, std::slice::from_ref(&objective))?;
        program.run(self.gpu())?;
        let loss = self.gpu().read(&program.head.loss)?;
        self.checkin(key, program);
        Ok(loss.first().copied().unwrap_or(f32::NAN))
    }

    /// The unembedding's row of a token, `[D]`: the direction of the residual stream that raises its logit. In
    /// a tied model that is `wte[token]`.
    pub fn unembedding_row(&self, token: TokenId) -> Result<Vec<f32>, ModelError> {
        let (row, width) = (token.0 as usize, self.config().n_embd);
        let ranges = self.0.parameters.head();
        let Some(range) =
            ranges.iter().find(|range| (range.first..range.first + range.count()).contains(&row))
        else {
            let reason = format!("is outside the vocabulary of {}", self.config().vocab_size);
            return Err(ModelError::invalid(format!("token id {token}"), reason));
        };
        let (gpu, first_row) = (self.gpu(), row - range.first);
        let mut recorder = Recorder::new(gpu);
        if range.rows.is_image() {
            let copied = gpu.tensor([1, width])?;
            ops::unpack(&mut recorder, ops::Unpack { image: &range.rows, first_row, out: &copied })?;
            gpu.run(&recorder.finish()?)?;
            return Ok(gpu.read(&copied)?);
        }
        let at = first_row * width;
        if range.rows.dtype() == Dtype::F16 && !width.is_multiple_of(2) {
            // Copies on the device are by whole words, which such a row does not begin with.
            return Ok(gpu.read(&range.rows)?[at..at + width].to_vec());
        }
        let copied = gpu.allocate([width].into(), range.rows.dtype())?;
        recorder.copy(&range.rows, at, &copied, 0, width)?;
        gpu.run(&recorder.finish()?)?;
        Ok(gpu.read(&copied)?)
    }
}

fn is_forward(site: Site) -> bool {
    match site {
        Site::Logits | Site::LnFInput | Site::LmHeadInput => true,
        Site::Block(_, site) => matches!(
            site,
            BlockSite::Pattern
                | BlockSite::CAttnInput
                | BlockSite::AttnProjInput
                | BlockSite::FcInput
                | BlockSite::MlpProjInput
                | BlockSite::ResidPre
                | BlockSite::ResidMid
                | BlockSite::ResidPost
        ),
        _ => false,
    }
}
