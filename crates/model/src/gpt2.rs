//! A loaded model and the passes it has recorded.

use crate::ModelError;
use crate::form::Form;
use crate::head::LossKind;
use crate::memory::Changes;
use crate::parameters::{Parameters, Precision, Values, WeightUse};
use crate::program::{Cut, Program, Purpose};
use crate::room;
use crate::trace::Trace;
use retrograd_formats::{
    Capture, Config, Interventions, Objective, RequestError, ResolvedObjective, TextObjective, TokenId,
    Tokenizer, TraceRequest, Weights,
};
use retrograd_gpu::Gpu;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// A GPT-2 on a device. Clones share it; it may be used from several threads.
#[derive(Clone)]
pub struct Gpt2(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) gpu: Gpu,
    pub(crate) config: Config,
    pub(crate) parameters: Parameters,
    tokenizer: Option<Tokenizer>,
    name: String,
    /// Where it was loaded from; `None` for values in memory.
    directory: Option<PathBuf>,
    precision: Precision,
    /// Recorded passes at rest, the most recently used last.
    programs: Mutex<Vec<(ProgramKey, Program)>>,
    /// Whether a [`WeightEdit`](crate::WeightEdit) is open.
    pub(crate) editing: AtomicBool,
}

/// What a cached program can serve: any request of this shape without interventions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProgramKey {
    form: Form,
    /// Whether there is a backward pass.
    backward: bool,
    /// Sites that are kept.
    kept: Vec<retrograd_formats::Site>,
    head_norms: bool,
}

impl ProgramKey {
    /// A forward and a backward pass that keep what was asked for.
    pub(crate) fn trace(form: Form, capture: &Capture, config: &Config) -> Self {
        let (kept, head_norms) = (kept_sites(capture, config), capture.keeps_head_norms());
        ProgramKey { form, backward: true, kept, head_norms }
    }

    /// A forward pass that keeps nothing but its logits and its loss.
    pub(crate) fn forward(form: Form) -> Self {
        ProgramKey { form, backward: false, kept: Vec::new(), head_norms: false }
    }

    /// A forward pass that keeps some of its tensors.
    pub(crate) fn observe(form: Form, kept: Vec<retrograd_formats::Site>) -> Self {
        ProgramKey { form, backward: false, kept, head_norms: false }
    }
}

/// Programs at rest that are kept for reuse; each holds its activations.
const CACHED_PROGRAMS: usize = 4;

/// Small ones among them that are kept beside these, for those who ask many short prompts of every length in turn:
/// recording takes longer than running then.
const CACHED_SMALL_PROGRAMS: usize = 32;

/// T·D·L of a small program: its activations take a few MiB.
const SMALL_PROGRAM: usize = 1 << 17;

impl Gpt2 {
    /// Loads an HF GPT-2 directory: `config.json`, safetensors weights (single file or shards) and, if
    /// there is one, the tokenizer.
    pub fn load(gpu: &Gpu, dir: impl AsRef<Path>, precision: Precision) -> Result<Gpt2, ModelError> {
        let dir = dir.as_ref();
        let config = Config::from_dir(dir)?;
        let weights = Weights::open(dir, &config)?;
        let config = Config { tie_word_embeddings: !weights.untied_head(), ..config };
        let what = format!("the model in {}", dir.display());
        room::check_model(gpu, &config, weights.untied_head(), precision, &what)?;
        let parameters =
            Parameters::load(gpu, &config, &Values::Files(&weights), precision, WeightUse::Read)?;
        let tokenizer = Tokenizer::from_dir(dir)?;
        let name = dir.display().to_string();
        let programs = Mutex::default();
        Ok(Gpt2(Arc::new(Inner {
            gpu: gpu.clone(),
            config,
            parameters,
            tokenizer,
            name,
            directory: Some(dir.to_owned()),
            precision,
            programs,
            editing: AtomicBool::new(false),
        })))
    }

    /// A model from values in host memory: one entry per parameter, by canonical HF name
    /// (`transformer.h.0.attn.c_attn.weight`, …), row-major, linear layers `[in, out]`. The head is
    /// tied unless there is a `lm_head.weight`. There is no tokenizer.
    pub fn from_values(
        gpu: &Gpu,
        config: &Config,
        values: &BTreeMap<String, Vec<f32>>,
        precision: Precision,
    ) -> Result<Gpt2, ModelError> {
        let untied = values.contains_key("lm_head.weight");
        for name in Weights::parameter_names(config, untied) {
            let size: usize = Weights::parameter_shape(config, &name).iter().product();
            let found = values.get(&name).map(Vec::len);
            if found != Some(size) {
                let found = found.map_or("missing".to_owned(), |count| format!("{count} values"));
                return Err(ModelError::invalid(name, format!("needs {size} values and is {found}")));
            }
        }
        let config = Config { tie_word_embeddings: !untied, ..config.clone() };
        Gpt2::in_memory(gpu, config, &Values::Host(values), precision)
    }

    /// A model whose values are made as they are needed: `make` is given the canonical HF name of a parameter
    /// and its number of elements, and returns them row-major. One parameter at a time is in host memory. The
    /// head is tied; there is no tokenizer.
    ///
    /// # Errors
    /// When `make` returns another number of elements, or the device cannot hold the model.
    pub fn from_fn(
        gpu: &Gpu,
        config: &Config,
        make: impl Fn(&str, usize) -> Vec<f32>,
        precision: Precision,
    ) -> Result<Gpt2, ModelError> {
        let config = Config { tie_word_embeddings: true, ..config.clone() };
        Gpt2::in_memory(gpu, config.clone(), &Values::Made(&make, &config), precision)
    }

    fn in_memory(
        gpu: &Gpu,
        config: Config,
        values: &Values<'_>,
        precision: Precision,
    ) -> Result<Gpt2, ModelError> {
        let untied = !config.tie_word_embeddings;
        room::check_model(gpu, &config, untied, precision, "the model")?;
        let parameters = Parameters::load(gpu, &config, values, precision, WeightUse::Read)?;
        let (name, programs) = ("values in memory".to_owned(), Mutex::default());
        Ok(Gpt2(Arc::new(Inner {
            gpu: gpu.clone(),
            config,
            parameters,
            tokenizer: None,
            name,
            directory: None,
            precision,
            programs,
            editing: AtomicBool::new(false),
        })))
    }

    /// The same model on its adapter, opened anew and loaded again from its directory, after the device was lost. What
    /// lay on the lost device is gone, edits that were not written too.
    ///
    /// # Errors
    /// When the adapter or the directory is not there any more, or the model was made from values in memory.
    pub fn reopen(&self) -> Result<Gpt2, ModelError> {
        let Some(directory) = &self.0.directory else {
            let reason =
                "its values were in memory: open the device again (Gpu::reopen) and make it from them";
            return Err(ModelError::invalid("model", reason));
        };
        Gpt2::load(&self.gpu().reopen()?, directory, self.precision())
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The device it lives on.
    pub fn gpu(&self) -> &Gpu {
        &self.0.gpu
    }

    /// Its tokenizer, if its directory has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.0.tokenizer.as_ref()
    }

    /// Its tokenizer, or an error that says what to do without.
    pub fn require_tokenizer(&self) -> Result<&Tokenizer, RequestError> {
        self.tokenizer().ok_or_else(|| {
            RequestError::invalid(
                "prompt",
                format!(
                    "{} has no tokenizer (tokenizer.json, or vocab.json and merges.txt): give --ids",
                    self.name()
                ),
            )
        })
    }

    /// The directory it was loaded from.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Element type of its matrices.
    pub fn precision(&self) -> Precision {
        self.0.precision
    }

    /// A request for a prompt and an objective in text, everything captured.
    pub fn request(&self, prompt: &str, objective: TextObjective<'_>) -> Result<TraceRequest, ModelError> {
        Ok(objective.request(self.require_tokenizer()?, prompt)?)
    }

    /// Runs one forward and one backward pass. The returned trace stays on the device until it is read.
    pub fn trace(&self, request: &TraceRequest) -> Result<Trace, ModelError> {
        let objective = request.resolve(self.config())?;
        let form = Form::of(request.ids.len(), &objective);
        let key = ProgramKey::trace(form, &request.capture, self.config());
        let reusable = request.interventions.is_empty();
        let cached = if reusable { self.checkout(&key) } else { None };
        let program = match cached {
            Some(program) => program,
            None => self.build(form, &Purpose::Trace(request.capture.clone()), &request.interventions)?,
        };
        let ids: Vec<u32> = request.ids.iter().map(|id| id.0).collect();
        program.write_tokens(self.gpu(), &ids)?;
        self.write_objectives(&program, std::slice::from_ref(&objective))?;
        program.run(self.gpu())?;
        Ok(Trace::new(self.clone(), program, reusable.then_some(key), objective, request.ids.clone()))
    }

    /// Runs a forward pass and returns the logits after the last token, `[V]`.
    pub fn logits(&self, ids: &[TokenId], interventions: &Interventions) -> Result<Vec<f32>, ModelError> {
        let program = self.prefill(ids, interventions)?;
        let logits = self.read_logits(&program)?;
        if interventions.is_empty() {
            self.checkin(ProgramKey::forward(program.form), program);
        }
        Ok(logits)
    }

    /// A forward pass over a prompt, submitted; its logits are those of the last position.
    pub(crate) fn prefill(
        &self,
        ids: &[TokenId],
        interventions: &Interventions,
    ) -> Result<Program, ModelError> {
        // The checks are those of a trace; any target will do.
        let probe = TraceRequest::new(ids.to_vec(), Objective::Target(TokenId(0)));
        probe.interventions(interventions.clone()).resolve(self.config())?;
        let form = Form::logits_from(ids.len(), ids.len() - 1);
        let cached = if interventions.is_empty() { self.checkout(&ProgramKey::forward(form)) } else { None };
        let program = match cached {
            Some(program) => program,
            None => self.build(form, &Purpose::Forward, interventions)?,
        };
        let ids: Vec<u32> = ids.iter().map(|id| id.0).collect();
        program.write_tokens(self.gpu(), &ids)?;
        program.run(self.gpu())?;
        Ok(program)
    }

    pub(crate) fn read_logits(&self, program: &Program) -> Result<Vec<f32>, ModelError> {
        program.head.read_logits(self.gpu())
    }

    pub(crate) fn build(
        &self,
        form: Form,
        purpose: &Purpose,
        interventions: &Interventions,
    ) -> Result<Program, ModelError> {
        self.build_cut(form, purpose, interventions, Cut::None)
    }

    /// The same, cut into two stages.
    pub(crate) fn build_cut<'a>(
        &self,
        form: Form,
        purpose: &Purpose,
        changes: impl Into<Changes<'a>>,
        cut: Cut,
    ) -> Result<Program, ModelError> {
        let changes = changes.into();
        self.make_room(form, purpose, changes, cut)?;
        let build =
            || Program::build(self.gpu(), self.config(), &self.0.parameters, form, purpose, changes, cut);
        match build() {
            // Whatever the estimate said: the driver has the last word.
            Err(error) if error.is_out_of_memory() => {
                self.forget_programs();
                self.gpu().trim();
                build()
            }
            built => built,
        }
    }

    /// Gives up the recorded passes at rest.
    pub(crate) fn forget_programs(&self) {
        let programs = std::mem::take(&mut *self.0.programs.lock().unwrap_or_else(|e| e.into_inner()));
        drop(programs);
    }

    /// Writes the objectives of all sequences; they are of one kind.
    pub(crate) fn write_objectives(
        &self,
        program: &Program,
        objectives: &[ResolvedObjective],
    ) -> Result<(), ModelError> {
        let vocab = self.config().vocab_size;
        if program.form.loss == LossKind::Linear {
            let mut rows = Vec::with_capacity(program.form.loss_rows() * vocab);
            for objective in objectives {
                match &objective.objective {
                    Objective::Delta { delta, .. } => rows.extend_from_slice(delta),
                    Objective::LogitDifference { token, minus } => {
                        let first = rows.len();
                        rows.resize(first + vocab, 0.0);
                        rows[first + minus.0 as usize] += 1.0;
                        rows[first + token.0 as usize] -= 1.0;
                    }
                    _ => {}
                }
            }
            return program.write_delta(self.gpu(), vocab, &rows);
        }
        let targets: Vec<u32> =
            objectives.iter().flat_map(|objective| &objective.targets).map(|id| id.0).collect();
        program.write_targets(self.gpu(), &targets)
    }

    pub(crate) fn checkout(&self, key: &ProgramKey) -> Option<Program> {
        let mut programs = self.0.programs.lock().unwrap_or_else(|e| e.into_inner());
        let at = programs.iter().position(|(have, _)| have == key)?;
        Some(programs.remove(at).1)
    }

    pub(crate) fn checkin(&self, key: ProgramKey, program: Program) {
        let mut programs = self.0.programs.lock().unwrap_or_else(|e| e.into_inner());
        let per_token = self.config().n_embd * self.config().n_layer;
        let small = |key: &ProgramKey| {
            !key.backward && key.form.batch * key.form.context * per_token <= SMALL_PROGRAM
        };
        let most = if small(&key) { CACHED_SMALL_PROGRAMS } else { CACHED_PROGRAMS };
        let alike = |other: &ProgramKey| small(other) == small(&key);
        if programs.iter().filter(|(other, _)| alike(other)).count() >= most
            && let Some(oldest) = programs.iter().position(|(other, _)| alike(other))
        {
            programs.remove(oldest);
        }
        programs.push((key, program));
    }
}

fn kept_sites(capture: &Capture, config: &Config) -> Vec<retrograd_formats::Site> {
    retrograd_formats::Site::all(config.n_layer).into_iter().filter(|site| capture.keeps(*site)).collect()
}
