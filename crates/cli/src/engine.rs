//! A model ready to be traced: on a device or in the f64 oracle.

use crate::args::ModelArgs;
use crate::default_model;
use crate::error::CliError;
use crate::progress::Spinner;
use retrograd::formats::Weights;
use retrograd::lens::answer_token;
use retrograd::reference::ReferenceModel;
use retrograd::{
    Capture, Config, Gpt2, Gpu, Objective, ParameterRead, Precision, Site, TokenId, Tokenizer, Trace,
    TraceRead, TraceRequest,
};
use serde::Serialize;
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
    /// What `--fit` did.
    pub(crate) fitted: Fitted,
}

/// What `--fit` changed so that a trace fits the device.
#[derive(Default, Serialize)]
pub(crate) struct Fitted {
    /// Element type of the weight matrices, where it is not the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<Precision>,
    /// The layers that are kept, where they are not all that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<usize>>,
}

impl Fitted {
    /// Whether it changed anything.
    pub(crate) fn is_any(&self) -> bool {
        self.precision.is_some() || self.layers.is_some()
    }

    /// What it changed, for a page; `None` where that is nothing.
    pub(crate) fn describe(&self) -> Option<String> {
        let precision = self.precision.map(|_| "the weight matrices are f16".to_owned());
        let said: Vec<String> = precision.into_iter().chain(self.layers.as_deref().map(listed)).collect();
        (!said.is_empty()).then(|| format!("--fit: {}", said.join("; ")))
    }
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
        let model = match args.fit && args.precision == Precision::F32 {
            true => Gpt2::load_fitting(&gpu, &files.dir)?,
            false => Gpt2::load(&gpu, &files.dir, args.precision)?,
        };
        if model.precision() != args.precision {
            note(HALVED);
        }
        Ok(Engine::Device(model))
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
    run(args, files, request, prompt, &Loss::AsAsked)
}

/// The same; with `--fit`, layers may be missing from what is kept.
pub(crate) fn trace_fitting(
    args: &ModelArgs,
    files: &ModelFiles,
    request: &TraceRequest,
    prompt: Option<&str>,
) -> Result<Traced, CliError> {
    run(args, files, request, prompt, &if args.fit { Loss::AsAskedWithFewerLayers } else { Loss::AsAsked })
}

/// The same for the loss of what the model itself answers, whatever target the request has.
pub(crate) fn trace_answer(
    args: &ModelArgs,
    files: &ModelFiles,
    request: &TraceRequest,
    prompt: Option<&str>,
) -> Result<Traced, CliError> {
    run(args, files, request, prompt, &Loss::OfTheAnswer)
}

/// Which loss, and whether every layer that was asked for must be kept.
#[derive(PartialEq)]
enum Loss {
    AsAsked,
    AsAskedWithFewerLayers,
    OfTheAnswer,
}

/// What `--fit` did about the weights.
const HALVED: &str = "the weight matrices are f16 on the device: in f32 they do not fit (--fit)";

/// Says on stderr what the user allowed and may not expect.
fn note(text: &str) {
    use std::io::{IsTerminal, Write};
    // Over the spinner, which draws itself anew.
    let clear = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let _ = writeln!(anstream::stderr(), "{clear}note: {text}");
}

fn run(
    args: &ModelArgs,
    files: &ModelFiles,
    request: &TraceRequest,
    prompt: Option<&str>,
    loss: &Loss,
) -> Result<Traced, CliError> {
    // Everything that is wrong with the request is said before the model is loaded.
    request.resolve(&files.config)?;
    let spinner = Spinner::new(format!("loading {}", files.dir.display()));
    let start = Instant::now();
    let engine = Engine::open(args, files)?;
    let load_time = start.elapsed();
    spinner.say(format!("tracing {} tokens", request.ids.len()));
    let start = Instant::now();
    let answered = match *loss == Loss::OfTheAnswer {
        true => Some(request.clone().objective(Objective::Target(engine.answer(request)?))),
        false => None,
    };
    let request = answered.as_ref().unwrap_or(request);
    let mut fitted = Fitted::default();
    let (trace, model, adapter, dispatches): (Box<dyn TraceRead>, Box<dyn ParameterRead>, _, _) = match engine
    {
        Engine::Device(model) => {
            let (model, trace, layers) = match loss {
                Loss::AsAskedWithFewerLayers => fitting(model, files, request)?,
                _ => {
                    let trace = model.trace(request)?;
                    (model, trace, None)
                }
            };
            fitted.layers = layers;
            fitted.precision = (model.precision() != args.precision).then(|| model.precision());
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
    Ok(Traced { trace, model, adapter, dispatches, load_time, trace_time: start.elapsed(), fitted })
}

/// A trace that fits the device: with the weights as f16 where those in f32 leave too little room, then with fewer
/// layers, the last ones.
fn fitting(
    model: Gpt2,
    files: &ModelFiles,
    request: &TraceRequest,
) -> Result<(Gpt2, Trace, Option<Vec<usize>>), CliError> {
    let mut model = model;
    let (mut fitting, mut kept) = match model.fit(request) {
        Err(error) if error.is_out_of_memory() && model.precision() == Precision::F32 => (None, None),
        fitting => fitting.map(|(request, kept)| (Some(request), kept))?,
    };
    if model.precision() == Precision::F32 && (fitting.is_none() || kept.is_some()) {
        // Everything in f16 rather than a part of it in f32.
        let gpu = model.gpu().clone();
        drop(model);
        gpu.trim();
        model = Gpt2::load(&gpu, &files.dir, Precision::F16)?;
        note(HALVED);
        let (request, fewer) = model.fit(request)?;
        (fitting, kept) = (Some(request), fewer);
    }
    let trace = model.trace(fitting.as_ref().unwrap_or(request))?;
    let kept = kept.map(|layers| layers.into_iter().map(|layer| layer.0).collect::<Vec<_>>());
    if let Some(layers) = &kept {
        note(&format!("{}: with more of them the pass does not fit (--fit)", listed(layers)));
    }
    Ok((model, trace, kept))
}

/// Which layers are kept, in words.
fn listed(layers: &[usize]) -> String {
    match layers {
        [] => "no layer is kept".to_owned(),
        [layer] => format!("only layer {layer} is kept"),
        layers => {
            let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
            format!("only the layers {} are kept", layers.join(", "))
        }
    }
}
