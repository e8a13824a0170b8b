//! The training loop's inside: one step, evaluation, saving.

use super::data::{Dataset, Windows};
use super::initial::initial_weights;
use super::options::TrainOptions;
use super::state;
use crate::ModelError;
use crate::form::Form;
use crate::parameters::{Parameters, Precision, Values, WeightUse};
use crate::program::{Cut, Program, Purpose};
use crate::room;
use retrograd_formats::{
    Config, Dtype as FileDtype, Interventions, Tokenizer, Weights, write_atomic, write_model_weights,
};
use retrograd_gpu::{Gpu, HostData, Pass, Recorder, Tensor, ops};
use std::path::Path;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The step, from 0.
    pub step: u64,
    /// Mean loss of the batch, before the step.
    pub loss: f32,
    /// Global norm of the gradients, before clipping.
    pub grad_norm: f32,
    /// Learning rate of the step.
    pub lr: f64,
    /// Tokens the step has seen: B·T.
    pub tokens: usize,
}

/// A parameter on the host: canonical HF name, shape, row-major values.
pub type NamedValues = (String, Vec<usize>, Vec<f32>);

/// A model in training on a device.
pub struct Trainer {
    gpu: Gpu,
    config: Config,
    options: TrainOptions,
    dataset: Dataset,
    windows: Windows,
    step: u64,
    parameters: Parameters,
    first_moments: Parameters,
    second_moments: Parameters,
    hyperparameters: Tensor, // (8)
    norm: Tensor,            // norm, clip (2)
    gradients: Program,
    update: Pass,
    evaluation: Option<Program>,
    inputs: Vec<u32>,
    targets: Vec<u32>,
}

impl Trainer {
    /// A model with initial weights drawn from the options' seed.
    pub fn from_config(
        gpu: &Gpu,
        config: &Config,
        dataset: Dataset,
        options: TrainOptions,
    ) -> Result<Trainer, ModelError> {
        options.check(config.n_positions)?;
        room::check_training(gpu, config, false)?;
        let weights = initial_weights(config, options.seed);
        let parameters =
            Parameters::load(gpu, config, &Values::Host(&weights), Precision::F32, WeightUse::Update)?;
        Trainer::new(gpu, config.clone(), parameters, dataset, options)
    }

    /// A model with the weights of an HF directory.
    pub fn from_weights(
        gpu: &Gpu,
        dir: impl AsRef<Path>,
        dataset: Dataset,
        options: TrainOptions,
    ) -> Result<Trainer, ModelError> {
        let config = Config::from_dir(dir.as_ref())?;
        options.check(config.n_positions)?;
        let weights = Weights::open(dir.as_ref(), &config)?;
        room::check_training(gpu, &config, weights.untied_head())?;
        let parameters =
            Parameters::load(gpu, &config, &Values::Files(&weights), Precision::F32, WeightUse::Update)?;
        let config = Config { tie_word_embeddings: !weights.untied_head(), ..config };
        Trainer::new(gpu, config, parameters, dataset, options)
    }

    fn new(
        gpu: &Gpu,
        config: Config,
        parameters: Parameters,
        dataset: Dataset,
        options: TrainOptions,
    ) -> Result<Trainer, ModelError> {
        dataset.check(config.vocab_size)?;
        let windows = Windows::new(&dataset, options.order, options.seed, options.context)?;
        let gradients = parameters.like(gpu)?;
        let (first_moments, second_moments) = (parameters.like(gpu)?, parameters.like(gpu)?);
        let mut clear = Recorder::new(gpu);
        for (_, tensor) in first_moments.named().into_iter().chain(second_moments.named()) {
            clear.clear(tensor);
        }
        gpu.run(&clear.finish()?)?;

        let hyperparameters = gpu.tensor([ops::HYPERPARAMETERS])?;
        let norm = gpu.tensor([2])?;
        let update = record_update(
            gpu,
            &options,
            [&parameters, &gradients, &first_moments, &second_moments],
            &hyperparameters,
            &norm,
        )?;
        let form = Form::training(options.batch, options.context);
        let purpose = Purpose::WeightGradients(Box::new(gradients));
        let unchanged = Interventions::default();
        let build =
            |gpu: &Gpu| Program::build(gpu, &config, &parameters, form, &purpose, &unchanged, Cut::None);
        let (what, advice) = ("a training step", "lower --batch or --context");
        room::check(gpu, what, gpu.planned_bytes(build)?, advice)?;
        let gradients = build(gpu)?;
        Ok(Trainer {
            gpu: gpu.clone(),
            config,
            options,
            dataset,
            windows,
            step: 0,
            parameters,
            first_moments,
            second_moments,
            hyperparameters,
            norm,
            gradients,
            update,
            evaluation: None,
            inputs: Vec::new(),
            targets: Vec::new(),
        })
    }

    /// Steps done so far.
    pub fn steps_done(&self) -> u64 {
        self.step
    }

    /// The options it was made with.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tokens of the training text.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// One step: forward, backward, clip, AdamW. Blocks until its loss is known.
    pub fn step(&mut self) -> Result<StepReport, ModelError> {
        let options = &self.options;
        let first = self.step * options.batch as u64;
        self.windows.fill(&self.dataset, first, options.batch, &mut self.inputs, &mut self.targets);
        self.gradients.write_tokens(&self.gpu, &self.inputs)?;
        self.gradients.write_targets(&self.gpu, &self.targets)?;

        let lr = options.learning_rate(self.step);
        let t = (self.step + 1) as f64;
        let (beta1, beta2) = options.betas;
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(t);
        self.gpu.write(
            &self.hyperparameters,
            &[
                lr as f32,
                beta1,
                beta2,
                options.epsilon,
                options.weight_decay,
                correction(beta1) as f32,
                correction(beta2).sqrt() as f32,
                options.clip,
            ],
        )?;
        self.gradients.run(&self.gpu)?;
        self.gpu.run(&self.update)?;
        let read = self.gpu.read_many(&[&self.gradients.head.loss, &self.norm])?;
        let value = |at: usize| match &read[at] {
            HostData::F32(values) => values[0],
            HostData::U32(_) => f32::NAN,
        };
        let report = StepReport {
            step: self.step,
            loss: value(0),
            grad_norm: value(1),
            lr,
            tokens: self.inputs.len(),
        };
        if !report.loss.is_finite() || !report.grad_norm.is_finite() {
            return Err(ModelError::invalid(
                format!("step {}", self.step),
                format!(
                    "the loss is {} and the gradient norm {}: the training diverged; lower --lr, lengthen --warmup, or clip",
                    report.loss, report.grad_norm
                ),
            ));
        }
        self.step += 1;
        Ok(report)
    }

    /// Time of each kernel of the last step's forward and backward pass, run once more with a clock;
    /// `None` where the adapter has none. The weights stay as they are.
    pub fn kernel_times(&self) -> Result<Option<Vec<retrograd_gpu::KernelTime>>, ModelError> {
        self.gradients.kernel_times(&self.gpu)
    }

    /// Mean next-token loss over the windows of a held-out text. A last, incomplete batch is filled up
    /// with windows from the start and counts with its own windows only when the text has fewer than one
    /// batch; otherwise it is left out.
    pub fn evaluate(&mut self, held_out: &Dataset) -> Result<f32, ModelError> {
        held_out.check(self.config.vocab_size)?;
        let (batch, context) = (self.options.batch, self.options.context);
        let count = held_out.window_count(context);
        // Whole batches where there are any; else one window at a time.
        let batch = if count >= batch { batch } else { 1 };
        if count == 0 {
            return Err(ModelError::invalid(
                "held-out text",
                format!("has {} tokens; one window needs {}", held_out.tokens().len(), context + 1),
            ));
        }
        let form = Form::training(batch, context);
        if self.evaluation.as_ref().is_none_or(|program| program.form != form) {
            let unchanged = Interventions::default();
            self.evaluation = Some(Program::build(
                &self.gpu,
                &self.config,
                &self.parameters,
                form,
                &Purpose::Forward,
                &unchanged,
                Cut::None,
            )?);
        }
        let Some(program) = &self.evaluation else { return Ok(f32::NAN) };
        let mut total = 0.0;
        let batches = count / batch;
        for index in 0..batches {
            let (mut inputs, mut targets) = (Vec::new(), Vec::new());
            for window in index * batch..(index + 1) * batch {
                let (x, y) = held_out.window(window, context);
                inputs.extend_from_slice(x);
                targets.extend_from_slice(y);
            }
            program.write_tokens(&self.gpu, &inputs)?;
            program.write_targets(&self.gpu, &targets)?;
            program.run(&self.gpu)?;
            total += f64::from(self.gpu.read(&program.head.loss)?[0]);
        }
        Ok((total / batches as f64) as f32)
    }

    /// Every parameter: canonical HF name, shape, values.
    pub fn weights(&self) -> Result<Vec<NamedValues>, ModelError> {
        self.read(&self.parameters)
    }

    /// The gradients of the last step, before clipping, as [`weights`](Trainer::weights).
    pub fn gradients(&self) -> Result<Vec<NamedValues>, ModelError> {
        match self.gradients.weight_gradients() {
            Some(gradients) => self.read(gradients),
            None => Ok(Vec::new()),
        }
    }

    fn read(&self, parameters: &Parameters) -> Result<Vec<NamedValues>, ModelError> {
        let named = parameters.named();
        let tensors: Vec<&Tensor> = named.iter().map(|(_, tensor)| *tensor).collect();
        let mut read: Vec<NamedValues> = Vec::new();
        for ((name, _), data) in named.iter().zip(self.gpu.read_many(&tensors)?) {
            let HostData::F32(values) = data else { continue };
            match read.last_mut() {
                // The next range of the same vocabulary matrix.
                Some((last, _, all)) if last == name => all.extend(values),
                _ => read.push((name.clone(), Weights::parameter_shape(&self.config, name), values)),
            }
        }
        Ok(read)
    }

    /// Writes an HF directory: config, weights and, if given, the tokenizer. Each file appears whole.
    pub fn save_model(&self, dir: &Path, tokenizer: Option<&Tokenizer>) -> Result<(), ModelError> {
        std::fs::create_dir_all(dir).map_err(|error| retrograd_formats::FormatError::io(dir, error))?;
        let weights = self.weights()?;
        let tensors: Vec<_> =
            weights.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), &values[..])).collect();
        let dtype = match self.options.precision {
            Precision::F32 => FileDtype::F32,
            Precision::F16 => FileDtype::F16,
        };
        write_model_weights(&dir.join("model.safetensors"), &tensors, dtype)?;
        let config = format!("{:#}\n", self.config.to_hf_json());
        write_atomic(&dir.join("config.json"), config.as_bytes())?;
        if let Some(tokenizer) = tokenizer {
            tokenizer.save(dir)?;
        }
        Ok(())
    }

    /// Writes everything that [`resume`](Trainer::resume) needs to go on bit for bit, in one file.
    pub fn save_state(&self, path: &Path) -> Result<(), ModelError> {
        let parts = [
            ("parameter", self.read(&self.parameters)?),
            ("first_moment", self.read(&self.first_moments)?),
            ("second_moment", self.read(&self.second_moments)?),
        ];
        state::write(path, self.step, &self.options, &self.config, self.dataset.digest(), &parts)
    }

    /// Goes on from a saved state: same options, same shape, same text, or an error that says which
    /// differs.
    pub fn resume(&mut self, path: &Path) -> Result<(), ModelError> {
        let file = state::open(path, &self.options, &self.config, self.dataset.digest())?;
        for (part, parameters) in [
            ("parameter", &self.parameters),
            ("first_moment", &self.first_moments),
            ("second_moment", &self.second_moments),
        ] {
            let mut whole: Option<(String, Vec<f32>, usize)> = None;
            for (name, tensor) in parameters.named() {
                if whole.as_ref().is_none_or(|(have, ..)| *have != name) {
                    let shape = Weights::parameter_shape(&self.config, &name);
                    let values = file.values(&format!("{part}.{name}"), &shape)?;
                    whole = Some((name.clone(), values, 0));
                }
                if let Some((_, values, at)) = &mut whole {
                    self.gpu.write(tensor, &values[*at..*at + tensor.len()])?;
                    *at += tensor.len();
                }
            }
        }
        self.step = state::step(path, &file)?;
        Ok(())
    }
}

/// Records the global norm and the update of every parameter.
fn record_update(
    gpu: &Gpu,
    options: &TrainOptions,
    [parameters, gradients, first_moments, second_moments]: [&Parameters; 4],
    hyperparameters: &Tensor,
    norm: &Tensor,
) -> Result<Pass, ModelError> {
    let mut recorder = Recorder::new(gpu);
    let all: Vec<Tensor> = gradients.named().into_iter().map(|(_, tensor)| tensor.clone()).collect();
    ops::global_norm(&mut recorder, ops::GlobalNorm { gradients: &all, hyperparameters, norm })?;
    let moments = first_moments.named().into_iter().zip(second_moments.named());
    for (((_, parameter), gradient), ((_, first), (_, second))) in
        parameters.named().into_iter().zip(&all).zip(moments)
    {
        let decay = options.decay_all || parameter.shape().dims().len() >= 2;
        ops::adamw(
            &mut recorder,
            ops::AdamW {
                parameter,
                gradient,
                first_moment: first,
                second_moment: second,
                norm,
                hyperparameters,
                decay,
            },
        )?;
    }
    Ok(recorder.finish()?)
}
