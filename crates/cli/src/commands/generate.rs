//! `retrograd generate`

use crate::args::{InterventionArgs, ModelArgs, PromptArgs};
use crate::engine::{Engine, ModelFiles};
use crate::error::CliError;
use crate::output::{print_json, printable};
use crate::progress::Spinner;
use clap::Args;
use retrograd::formats::StreamDecoder;
use retrograd::lens::{TokenText, token_texts};
use retrograd::{Finish, GenerateOptions, Gpt2, Sampler, SamplingOptions, TokenId};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

#[derive(Args)]
#[command(after_help = "Example: retrograd generate 'The capital of' --max-tokens 40 --temperature 0.8")]
pub(crate) struct GenerateCommand {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Tokens to add at most
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_tokens: usize,
    /// Divides the logits; 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw among the K most probable tokens only
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw among the fewest tokens that reach this probability together
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Same seed, same text on the same adapter
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Print one JSON document at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    interventions: InterventionArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    schema: &'static str,
    model: String,
    tokens: Vec<TokenText>,
    generated: Vec<TokenText>,
    text: Option<String>,
    finish: &'static str,
}

impl GenerateCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let files = ModelFiles::open(&self.model)?;
        let ids = self.prompt.tokens(&files)?;
        let interventions = self.interventions.interventions(&files.config, ids.len())?;
        if self.model.device.is_reference() {
            return Err(CliError::Failed(
                "--adapter reference: serves traces; generation needs a device ('retrograd doctor' lists them)".to_owned(),
            ));
        }
        let options = GenerateOptions {
            max_new_tokens: self.max_tokens,
            sampling: SamplingOptions {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                seed: self.seed,
            },
            stop: files.config.eos_token_id.map(TokenId),
            interventions,
        };
        // Options are checked before the model is loaded for them.
        Sampler::new(options.sampling)?;
        let spinner = Spinner::new(format!("loading {}", files.dir.display()));
        let Engine::Device(model) = Engine::open(&self.model, &files)? else {
            return Err(CliError::Failed("--adapter: generation needs a device".to_owned()));
        };
        drop(spinner);
        if self.json {
            return document(&model, &files, &ids, &options);
        }
        stream(&model, &files, &ids, &options)
    }
}

fn document(
    model: &Gpt2,
    files: &ModelFiles,
    ids: &[TokenId],
    options: &GenerateOptions,
) -> Result<(), CliError> {
    let generation = model.generate(ids, options, |_| ControlFlow::Continue(()))?;
    let tokenizer = files.tokenizer.as_ref();
    print_json(&Document {
        schema: "retrograd-generate/1",
        model: model.name().to_owned(),
        tokens: token_texts(ids, tokenizer),
        generated: token_texts(&generation.ids, tokenizer),
        text: tokenizer.map(|tokenizer| tokenizer.decode(&generation.ids)),
        finish: match generation.finish {
            Finish::Length => "length",
            Finish::ContextFull => "context_full",
            Finish::Stop => "stop",
            Finish::Cancelled => "cancelled",
        },
    })
}

/// Prints the prompt and then every token as it comes.
fn stream(
    model: &Gpt2,
    files: &ModelFiles,
    ids: &[TokenId],
    options: &GenerateOptions,
) -> Result<(), CliError> {
    let mut writer = Writer { out: io::stdout(), decoder: files.tokenizer.as_ref().map(|t| t.stream()) };
    let mut failure = None;
    let mut prompt = ids.iter().copied();
    let generation = model.generate(ids, options, |id| {
        // The prompt stands before the first new token: when that comes, nothing is wrong with it.
        let written = prompt.by_ref().chain([id]).try_for_each(|id| writer.token(id));
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    prompt.try_for_each(|id| writer.token(id))?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    writer.finish()?;
    if generation.finish == Finish::ContextFull {
        let positions = model.config().n_positions;
        // Told in passing: where stderr is closed it is not missed.
        let _ = writeln!(io::stderr(), "(the model's {positions} positions are full)");
    }
    Ok(())
}

/// Tokens as text, or as numbers where there is no tokenizer.
struct Writer<'a> {
    out: io::Stdout,
    decoder: Option<StreamDecoder<'a>>,
}

impl Writer<'_> {
    fn token(&mut self, id: TokenId) -> io::Result<()> {
        let text = match &mut self.decoder {
            Some(decoder) => decoder.push(id),
            None => format!("{id} "),
        };
        self.write(&text)
    }

    fn finish(&mut self) -> io::Result<()> {
        let rest = self.decoder.as_mut().map(StreamDecoder::finish).unwrap_or_default();
        self.write(&(rest + "\n"))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        // A file gets the text as it is; a terminal no control characters that a model may dream of.
        let text = if self.out.is_terminal() { printable(text) } else { text.to_owned() };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}
