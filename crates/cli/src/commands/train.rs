//! `retrograd train`

use crate::args::DeviceArgs;
use crate::error::CliError;
use crate::interrupt;
use crate::output::{check_directory, print_styled};
use crate::progress::{Spinner, TrainingProgress};
use clap::{Args, ValueEnum};
use retrograd::train::{Dataset, Order, Schedule, TrainOptions, Trainer};
use retrograd::training::{self, Ending, TrainingPlan};
use retrograd::{Config, FormatError, Gpu, Precision, Tokenizer};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::Ordering;

#[derive(Args)]
#[command(
    after_help = "Example: retrograd train --init models/atlas --text notes.txt --out tuned --steps 200 \
                        --lr 3e-4\n\nCtrl-C saves and exits 0; the same command with --resume goes on."
)]
pub(crate) struct TrainCommand {
    #[command(flatten)]
    start: Start,
    /// Directory with the tokenizer [default: that of --init, or the one --config lies in]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// UTF-8 text files to train on
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    text: Vec<PathBuf>,
    /// Text whose loss is measured at intervals
    #[arg(long, value_name = "FILE", num_args = 1..)]
    held_out: Vec<PathBuf>,
    /// Hugging Face directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Optimiser steps
    #[arg(long, value_name = "N")]
    steps: u64,
    /// Sequences a step
    #[arg(long, value_name = "B", default_value_t = TrainOptions::default().batch)]
    batch: usize,
    /// Tokens of a sequence [default: the model's n_positions, at most 128]
    #[arg(long, value_name = "T")]
    context: Option<usize>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE", default_value_t = TrainOptions::default().lr, allow_negative_numbers = true)]
    lr: f32,
    /// Learning rate after the warm-up
    #[arg(long, value_enum, default_value = "cosine")]
    schedule: ScheduleName,
    /// Steps over which the learning rate rises to its peak [default: 100, at most a tenth of the steps]
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// AdamW's decay of tensors with two or more dimensions
    #[arg(long, value_name = "DECAY", default_value_t = TrainOptions::default().weight_decay, allow_negative_numbers = true)]
    weight_decay: f32,
    /// Decay biases and norms too
    #[arg(long)]
    decay_all: bool,
    /// AdamW's two β
    #[arg(long, value_name = "B1,B2", default_value = "0.9,0.95", value_parser = betas)]
    betas: (f32, f32),
    /// AdamW's ε
    #[arg(long, value_name = "EPS", default_value_t = TrainOptions::default().epsilon, allow_negative_numbers = true)]
    eps: f32,
    /// Scale gradients down to this global norm; 0 leaves them
    #[arg(long, value_name = "NORM", default_value_t = TrainOptions::default().clip, allow_negative_numbers = true)]
    clip: f32,
    /// Windows in an order drawn from the seed, or one after the other
    #[arg(long, value_enum, default_value = "shuffled")]
    order: OrderName,
    /// Seed of the initial weights and of the order
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Element type of the weights that are written, f32 or f16; the training itself is in f32
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = Precision::from_str)]
    precision: Precision,
    /// Steps between two held-out losses, 0 for one at the end [default: a twentieth of the steps, or more for a
    /// long text]
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,
    /// Steps between two checkpoints, 0 for none [default: a tenth of the steps]
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// Go on with the interrupted training in --out; all other flags as before
    #[arg(long)]
    resume: bool,
    /// Print one line of JSON a step
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Start {
    /// Hugging Face directory whose weights to start from
    #[arg(long, value_name = "DIR")]
    init: Option<PathBuf>,
    /// A config.json whose model to start with random weights
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// Half a cosine down to 0
    Cosine,
    /// The peak throughout
    Constant,
}

#[derive(Clone, Copy, ValueEnum)]
enum OrderName {
    /// Every window once an epoch, in an order drawn from the seed
    Shuffled,
    /// As the text has them
    Sequential,
}

impl TrainCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if self.device.is_reference() {
            return Err(CliError::Failed(
                "--adapter reference: serves traces; training needs a device ('retrograd doctor' lists them)"
                    .to_owned(),
            ));
        }
        check_directory(&self.out)?;
        let spinner = Spinner::new("tokenising".to_owned());
        let (config, tokenizer) = self.start.open(self.tokenizer.as_deref())?;
        let options = self.options(&config);
        let text = Dataset::from_files(&self.text, &tokenizer)?;
        let held_out = match &self.held_out[..] {
            [] => None,
            files => Some(Dataset::from_files(files, &tokenizer)?),
        };
        spinner.say("loading the model".to_owned());
        let gpu = Gpu::open(&self.device.gpu_options())?;
        let mut trainer = match &self.start.init {
            Some(dir) => Trainer::from_weights(&gpu, dir, text, options)?,
            None => Trainer::from_config(&gpu, &config, text, options)?,
        };
        if self.resume {
            training::resume(&mut trainer, &self.out)?;
        }
        drop(spinner);
        // A measurement is a forward pass over the whole text: no more often than steps see as many tokens.
        let held_out_steps = held_out
            .as_ref()
            .map_or(0, |text| text.tokens().len() / (trainer.options().batch * trainer.options().context));
        let plan = TrainingPlan {
            out: self.out.clone(),
            held_out,
            eval_every: self.eval_every.unwrap_or(self.steps.div_ceil(20).max(held_out_steps as u64)),
            checkpoint_every: self.checkpoint_every.unwrap_or(self.steps.div_ceil(10)),
            tokenizer: Some(tokenizer),
        };
        let stop = interrupt::flag()?;
        let mut progress = TrainingProgress::new(self.json, self.steps, trainer.steps_done());
        let mut failure = None;
        let ending = training::run(&mut trainer, &plan, |step| {
            if let Err(error) = progress.step(step) {
                // Nobody reads on: save what there is.
                failure = Some(error);
                return ControlFlow::Break(());
            }
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        drop(progress);
        let ending = ending?;
        if let Some(error) = failure {
            return Err(error);
        }
        if self.json {
            return Ok(());
        }
        print_styled(&match ending {
            Ending::Complete => format!("wrote {}\n", self.out.display()),
            Ending::Interrupted { steps } => format!(
                "saved {} after {steps} of {} steps; the same command with --resume goes on\n",
                self.out.display(),
                self.steps
            ),
        })
    }

    fn options(&self, config: &Config) -> TrainOptions {
        let usual = TrainOptions::default();
        TrainOptions {
            steps: self.steps,
            batch: self.batch,
            context: self.context.unwrap_or(usual.context.min(config.n_positions)),
            lr: self.lr,
            schedule: match self.schedule {
                ScheduleName::Cosine => Schedule::Cosine,
                ScheduleName::Constant => Schedule::Constant,
            },
            warmup: self.warmup.unwrap_or(usual.warmup.min(self.steps / 10)),
            weight_decay: self.weight_decay,
            decay_all: self.decay_all,
            betas: self.betas,
            epsilon: self.eps,
            clip: self.clip,
            order: match self.order {
                OrderName::Shuffled => Order::Shuffled,
                OrderName::Sequential => Order::Sequential,
            },
            seed: self.seed,
            precision: self.precision,
        }
    }
}

impl Start {
    /// The model's shape and its tokenizer.
    fn open(&self, tokenizer: Option<&Path>) -> Result<(Config, Tokenizer), CliError> {
        let (config, beside) = match (&self.init, &self.config) {
            (Some(dir), _) => (Config::from_dir(dir)?, dir.as_path()),
            (None, Some(file)) => (Config::from_file(file)?, file.parent().unwrap_or(Path::new("."))),
            (None, None) => return Err(CliError::Usage("give --init DIR or --config FILE".to_owned())),
        };
        let dir = tokenizer.unwrap_or(beside);
        let Some(tokenizer) = Tokenizer::from_dir(dir)? else {
            let reason = "has no tokenizer (tokenizer.json, or vocab.json and merges.txt): give --tokenizer DIR; \
                          'retrograd tokenizer' trains one";
            return Err(FormatError::malformed(dir, reason).into());
        };
        if tokenizer.vocab_size() > config.vocab_size {
            let reason = format!(
                "its tokenizer has {} tokens, but the model's vocab_size is {}",
                tokenizer.vocab_size(),
                config.vocab_size
            );
            return Err(FormatError::malformed(dir, reason).into());
        }
        Ok((config, tokenizer))
    }
}

fn betas(text: &str) -> Result<(f32, f32), String> {
    let parsed =
        text.split_once(',').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    parsed.ok_or_else(|| format!("'{text}' is not two numbers, as in 0.9,0.95"))
}
