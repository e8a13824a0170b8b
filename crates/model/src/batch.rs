//! Several sequences of one length in one pass, each with a loss and a backward signal of its own.

use crate::ModelError;
use crate::form::Form;
use crate::gpt2::{Gpt2, ProgramKey};
use crate::program::{Cut, Program, Purpose};
use crate::trace::{self, Trace, read_sites};
use retrograd_formats::{
    HeadNorms, HostTensor, Objective, RequestError, ResolvedObjective, Site, TokenId, TraceRequest,
};

/// One forward and one backward pass over several sequences, on the device until it is read. The losses are added up, so
/// that each sequence has the gradients that it has by itself.
pub struct BatchTrace {
    model: Gpt2,
    // `None` only while dropping.
    program: Option<Program>,
    key: Option<ProgramKey>,
    ids: Vec<TokenId>,
}

impl Gpt2 {
    /// Traces several requests at once: what one of them would give by itself, at the speed of large products.
    ///
    /// ```no_run
    /// # use retrograd_formats::{BlockSite, Capture, Layer, Objective, Site, TokenId, TraceRequest};
    /// # use retrograd_model::{Gpt2, Precision};
    /// # let gpu = retrograd_gpu::Gpu::open(&Default::default())?;
    /// # let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    /// let reversed = Site::Block(Layer(2), BlockSite::Reversed);
    /// let request = |id| {
    ///     let ids = vec![TokenId(0), TokenId(id), TokenId(7)];
    ///     TraceRequest::new(ids, Objective::Target(TokenId(9))).capture(Capture::only([reversed]))
    /// };
    /// let traces = model.trace_batch(&[request(3), request(4), request(5)])?;
    /// let maps = traces.read_all(&[reversed])?; // [3, H, T, T]
    /// println!("{:?}", traces.losses()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When a request does not fit the model, or differs from the first in its length, in the positions or the kind of its
    /// objective, in what it captures or in its interventions.
    pub fn trace_batch(&self, requests: &[TraceRequest]) -> Result<BatchTrace, ModelError> {
        let Some(first) = requests.first() else {
            return Err(ModelError::invalid("batch", "has no requests"));
        };
        let mut objectives = Vec::with_capacity(requests.len());
        for (at, request) in requests.iter().enumerate() {
            let objective = request.resolve(self.config())?;
            if let Some(difference) = difference(first, request, objectives.first(), &objective) {
                return Err(ModelError::invalid(format!("request {at} of the batch"), difference));
            }
            objectives.push(objective);
        }
        let form = Form::of(first.ids.len(), &objectives[0]).repeated(requests.len());
        let key = ProgramKey::trace(form, &first.capture, self.config());
        let reusable = first.interventions.is_empty();
        let program = match if reusable { self.checkout(&key) } else { None } {
            Some(program) => program,
            None => self.build(form, &Purpose::Trace(first.capture.clone()), &first.interventions)?,
        };
        let ids: Vec<TokenId> = requests.iter().flat_map(|request| &request.ids).copied().collect();
        let tokens: Vec<u32> = ids.iter().map(|id| id.0).collect();
        program.write_tokens(self.gpu(), &tokens)?;
        self.write_objectives(&program, &objectives)?;
        program.run(self.gpu())?;
        Ok(BatchTrace { model: self.clone(), program: Some(program), key: reusable.then_some(key), ids })
    }

    /// Traces several objectives of one prompt: the forward pass runs once, and a backward pass for each. `look` is shown
    /// each trace in turn; it is gone when the next begins.
    ///
    /// # Errors
    /// When the request does not fit the model, or `look` fails.
    pub fn trace_objectives<E: From<ModelError>>(
        &self,
        request: &TraceRequest,
        objectives: &[Objective],
        mut look: impl FnMut(usize, &Trace) -> Result<(), E>,
    ) -> Result<(), E> {
        let invalid = |error: RequestError| E::from(ModelError::from(error));
        let mut program: Option<Program> = None;
        for (at, objective) in objectives.iter().enumerate() {
            let request = TraceRequest { objective: objective.clone(), ..request.clone() };
            let resolved = request.resolve(self.config()).map_err(invalid)?;
            let form = Form::of(request.ids.len(), &resolved);
            // A forward pass serves all objectives of one kind on the same positions.
            let same = program.take().filter(|program| program.form == form);
            let shared = same.is_some();
            let current = match same {
                Some(program) => program,
                None => {
                    let purpose = Purpose::Trace(request.capture.clone());
                    let program = self.build_cut(form, &purpose, &request.interventions, Cut::Loss)?;
                    let tokens: Vec<u32> = request.ids.iter().map(|id| id.0).collect();
                    program.write_tokens(self.gpu(), &tokens)?;
                    program
                }
            };
            self.write_objectives(&current, std::slice::from_ref(&resolved))?;
            match shared {
                true => current.run_from_cut(self.gpu())?,
                false => current.run(self.gpu())?,
            }
            let trace = Trace::new(self.clone(), current, None, resolved, request.ids);
            look(at, &trace)?;
            program = trace.into_program();
        }
        Ok(())
    }
}

/// Why two requests cannot share a pass.
fn difference(
    first: &TraceRequest,
    request: &TraceRequest,
    first_objective: Option<&ResolvedObjective>,
    objective: &ResolvedObjective,
) -> Option<String> {
    let other = first_objective?;
    if request.ids.len() != first.ids.len() {
        return Some(format!(
            "has {} tokens and the first {}: group them by length",
            request.ids.len(),
            first.ids.len()
        ));
    }
    let of = |objective: &ResolvedObjective| Form::of(first.ids.len(), objective);
    if of(objective) != of(other) {
        return Some("has its loss at other positions, or of another kind, than the first".to_owned());
    }
    if request.capture != first.capture {
        return Some("captures other tensors than the first".to_owned());
    }
    (request.interventions != first.interventions)
        .then(|| "has other interventions than the first".to_owned())
}

impl BatchTrace {
    /// Sequences.
    pub fn len(&self) -> usize {
        self.form().map_or(0, |form| form.batch)
    }

    /// Whether there are none; never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kernel dispatches of the pass.
    pub fn dispatches(&self) -> usize {
        self.program.as_ref().map_or(0, Program::dispatches)
    }

    fn form(&self) -> Option<Form> {
        self.program.as_ref().map(|program| program.form)
    }

    /// The loss of each sequence.
    pub fn losses(&self) -> Result<Vec<f32>, ModelError> {
        let Some(program) = &self.program else { return Ok(Vec::new()) };
        let rows = self.model.gpu().read(&program.head.row_loss)?;
        let mean = |rows: &[f32]| {
            let sum: f64 = rows.iter().map(|loss| f64::from(*loss)).sum();
            match program.form.loss {
                // L = Σ δ ⊙ logits, whatever the number of rows.
                crate::head::LossKind::Linear => sum as f32,
                _ => (sum / rows.len() as f64) as f32,
            }
        };
        Ok(rows.chunks_exact(program.form.positions).map(mean).collect())
    }

    /// The norms of every head's maps in each sequence, where [`Capture::head_norms`](retrograd_formats::Capture::head_norms) asked for them.
    pub fn head_norms(&self) -> Result<Vec<HeadNorms>, ModelError> {
        let Some(program) = &self.program else { return Ok(Vec::new()) };
        let Some(norms) = &program.head_norms else {
            return Err(ModelError::invalid("head norms", "were not captured: ask for Capture::head_norms"));
        };
        let read = self.model.gpu().read(norms)?;
        Ok(trace::head_norms(&read, self.model.config(), program.form.batch))
    }

    /// Reads tensors of all sequences in one round trip: each has the shape of [`Site::shape`] behind a first dimension
    /// of [`len`](BatchTrace::len).
    ///
    /// # Errors
    /// When a site was not captured, or is a sum over the whole batch: the loss, gradients of layer norms.
    pub fn read_all(&self, sites: &[Site]) -> Result<Vec<HostTensor>, ModelError> {
        let Some(program) = &self.program else { return Ok(Vec::new()) };
        if let Some(site) = sites.iter().find(|site| is_summed(**site)) {
            return Err(ModelError::invalid(site.to_string(), "is a sum over the sequences of a batch"));
        }
        let mut read = read_sites(&self.model, program, &self.ids, sites)?;
        if program.form.batch == 1 {
            read.iter_mut().for_each(|tensor| tensor.shape.insert(0, 1));
        }
        Ok(read)
    }
}

fn is_summed(site: Site) -> bool {
    use retrograd_formats::BlockSite::{Ln1BiasGrad, Ln1WeightGrad, Ln2BiasGrad, Ln2WeightGrad};
    match site {
        Site::Loss | Site::LnFWeightGrad | Site::LnFBiasGrad => true,
        Site::Block(_, site) => matches!(site, Ln1WeightGrad | Ln1BiasGrad | Ln2WeightGrad | Ln2BiasGrad),
        _ => false,
    }
}

impl Drop for BatchTrace {
    fn drop(&mut self) {
        if let (Some(key), Some(program)) = (self.key.take(), self.program.take()) {
            self.model.checkin(key, program);
        }
    }
}
