//! A model ready to be traced: on a device or in the f64 oracle.

use crate::args::ModelArgs;
use crate::default_model;
use crate::error::CliError;
use crate::progress::Spinner;
use retrograd::formats::Weights;
use retrograd::lens::answer_token;
use retrograd::reference::ReferenceModel;
use retrograd::{
    Capture, Config, Gpt2, Gpu, Objective, ParameterRead, Precision, Site, TokenId, Tokenizer, TraceRead,
    TraceRequest,
};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The name that stands for the oracle.
pub(crate) const REFERENCE: &str = "reference";

/// A model's directory, checked as far as that needs no device.
pub(crate) struct ModelFiles {
    pub(crate) dir: PathBuf,
    pub(crate) config: Config,
    pub(crate) tokenizer: Option<Tokenizer>,
}

impl ModelFiles {
    pub(crate) fn open(args: &ModelArgs) -> Result<Self, CliError> {
        let dir = default_model::resolve(args.model.as_deref())?;
        let config = Config::from_dir(&dir)?;
        Weights::open(&dir, &config)?;
        let tokenizer = Tokenizer::from_dir(&dir)?;
        if let Some(tokenizer) = tokenizer.as_ref().filter(|t| t.vocab_size() > config.vocab_size) {
            return Err(CliError::Failed(format!(
                "{}: its tokenizer has {} tokens, but config.json a vocab_size of {}",
                dir.display(),
                tokenizer.vocab_size(),
                config.vocab_size
            )));
        }
        Ok(ModelFiles { dir, config, tokenizer })
    }
}

/// What computes.
pub(crate) enum Engine {
    Device(Gpt2),
    Reference(ReferenceModel),
}

/// A trace and what is known about its making.
pub(crate) struct Traced {
    pub(crate) trace: Box<dyn TraceRead>,
    /// The model that made it, for reading its vectors in the vocabulary and its parameters.
    pub(crate) model: Box<dyn ParameterRead>,
    pub(crate) adapter: String,
    pub(crate) dispatches: Option<usize>,
    pub(crate) load_time: Duration,
    pub(crate) trace_time: Duration,
}

impl Engine {
    /// Opens the adapter and loads the model.
    pub(crate) fn open(args: &ModelArgs, files: &ModelFiles) -> Result<Self, CliError> {
        if args.device.is_reference() {
            if args.precision != Precision::F32 {
                return Err(CliError::Failed(format!(
                    "--precision: the adapter '{REFERENCE}' computes in f64 with the weights as they are stored; \
                     leave it out"
                )));
            }
            return Ok(Engine::Reference(ReferenceModel::load(&files.dir)?));
        }
        let gpu = Gpu::open(&args.device.gpu_options())?;
        Ok(Engine::Device(Gpt2::load(&gpu, &files.dir, args.precision)?))
    }

    /// The most probable token after the request's last one, under its interventions.
    fn answer(&self, request: &TraceRequest) -> Result<TokenId, CliError> {
        let probe =
            request.clone().objective(Objective::Target(TokenId(0))).capture(Capture::only([Site::Logits]));
        Ok(match self {
            Engine::Device(model) => answer_token(&model.trace(&probe)?)?,
            Engine::Reference(model) => answer_token(&model.trace(&probe)?)?,
        })
    }
}

/// Loads the model and runs one trace.
pub(crate) fn trace(
    args: &ModelArgs,
    files: &ModelFiles,
    request: &TraceRequest,
    prompt: Option<&str>,
) -> Result<Traced, CliError> {
    run(args, files, request, prompt, false)
}

/// The same for the loss of what the model itself answers, whatever target the request has.
pub(crate) fn trace_answer(
    args: &ModelArgs,
    files: &ModelFiles,
    request: &TraceRequest,
    prompt: Option<&str>,
) -> Result<Traced, CliError> {
    run(args, files, request, prompt, true)
}

fn run(
    args: &ModelArgs,
    files: &ModelFiles,
    request: &TraceRequest,
    prompt: Option<&str>,
    answer: bool,
) -> Result<Traced, CliError> {
    // Everything that is wrong with the request is said before the model is loaded.
    request.resolve(&files.config)?;
    let spinner = Spinner::new(format!("loading {}", files.dir.display()));
    let start = Instant::now();
    let engine = Engine::open(args, files)?;
    let load_time = start.elapsed();
    spinner.say(format!("tracing {} tokens", request.ids.len()));
    let start = Instant::now();
    let answered = match answer {
        true => Some(request.clone().objective(Objective::Target(engine.answer(request)?))),
        false => None,
    };
    let request = answered.as_ref().unwrap_or(request);
    let (trace, model, adapter, dispatches): (Box<dyn TraceRead>, Box<dyn ParameterRead>, _, _) = match engine
    {
        Engine::Device(model) => {
            let trace = model.trace(request)?;
            let adapter = model.gpu().adapter().to_string();
            let dispatches = Some(trace.dispatches());
            let trace = match prompt {
                Some(prompt) => trace.with_prompt(prompt),
                None => trace,
            };
            // Submitted is not done: wait, so that the time is the pass's.
            model.gpu().wait()?;
            (Box::new(trace), Box::new(model), adapter, dispatches)
        }
        Engine::Reference(model) => {
            let trace = model.trace(request)?;
            let trace = match prompt {
                Some(prompt) => trace.with_prompt(prompt),
                None => trace,
            };
            (Box::new(trace), Box::new(model), "reference [f64 on the CPU]".to_owned(), None)
        }
    };
    Ok(Traced { trace, model, adapter, dispatches, load_time, trace_time: start.elapsed() })
}
