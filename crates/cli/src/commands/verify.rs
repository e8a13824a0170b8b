//! `retrograd verify`

use super::doctor::write_shaders;
use crate::args::{DeviceArgs, ModelArgs, ObjectiveArgs, PromptArgs};
use crate::engine::{ModelFiles, REFERENCE};
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::progress::Spinner;
use crate::report::{self, Page, Verdict};
use clap::Args;
use retrograd::formats::{AtomicDir, ReferenceFile};
use retrograd::gpu::ops::GemmVariant;
use retrograd::verify::{self, Devices, Options, Products, Scope};
use retrograd::{Gpu, Precision, RequestError, TraceRequest};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

const EXAMPLES: &str = "Examples:
  retrograd verify
  retrograd verify --kernels 'layer_norm*,reversed_attention' --full
  retrograd verify --gemm all --model path/to/gpt2
  retrograd verify --against reference.safetensors   (scripts/reference_trace.py writes one)";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyCommand {
    #[command(flatten)]
    prompt: PromptArgs,
    /// Compare a trace with the gradients in this safetensors file, under the names of a trace file or as
    /// PARAMETER.grad; what is traced is what the file says, or the flags
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Only the kernels whose name matches, as in 'gemm*,layer_norm', and no model
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["against", "model", "prompt", "ids", "objective"])]
    kernels: Option<String>,
    /// Compute products by this variant only: portable, subgroup, workgroup, …, or 'all' of them in turn
    #[arg(long, value_name = "VARIANT")]
    gemm: Option<String>,
    /// Every case there is: larger sizes, every epilogue, every variant in full
    #[arg(long)]
    full: bool,
    /// Write every shader that was compiled into this directory, which must be new or empty
    #[arg(long, value_name = "DIR")]
    dump_shaders: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    objective: ObjectiveArgs,
    /// Hugging Face GPT-2 directory [default: the shipped model, models/atlas]
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    model: Option<PathBuf>,
    /// Element type of the weight matrices: f32 or f16 [default: both in turn; f32 with --against]
    #[arg(long, value_name = "TYPE", value_parser = Precision::from_str, help_heading = "Model")]
    precision: Option<Precision>,
    #[command(flatten)]
    device: DeviceArgs,
}

impl VerifyCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if self.device.is_reference() {
            return Err(CliError::Usage(format!(
                "--adapter {REFERENCE}: the f64 oracle is what a device is verified against; name a device"
            )));
        }
        let products = self.products()?;
        let start = Instant::now();
        let spinner = Spinner::new("looking for adapters".to_owned());
        let mut progress = |what: &str| spinner.say(what.to_owned());
        let mut options = self.device.gpu_options();
        if let (Products::One(variant), true) = (products, self.against.is_some()) {
            options.gemm = Some(variant);
        }
        let devices = Devices::new(options.clone());
        let shaders = self.dump_shaders.as_deref().map(AtomicDir::new).transpose()?;
        let devices = if shaders.is_some() { devices.keeping_shaders() } else { devices };
        let compiled_by = devices.clone();
        let found = match &self.against {
            Some(path) => {
                let (files, file) = (self.files()?, ReferenceFile::open(path)?);
                let request = self.reference_request(&files, &file)?;
                let precision = self.precision.unwrap_or_default();
                let found = verify::against(&devices, &files.dir, precision, &file, &request, &mut progress)?;
                Verdict::against(&files, &request, path, found)
            }
            None if self.kernels.is_some() => Verdict::kernels(verify::run(
                &Options {
                    devices,
                    products,
                    kernels: self.kernels.clone(),
                    scope: self.scope(),
                    ..Options::default()
                },
                &mut progress,
            )?),
            None => {
                let files = self.files()?;
                let request = self.request(&files)?;
                let options = Options {
                    devices,
                    model: Some(files.dir.clone()),
                    request: request.clone(),
                    precisions: self.precision.into_iter().collect(),
                    products,
                    kernels: None,
                    scope: self.scope(),
                };
                Verdict::model(&files, request.as_ref(), verify::run(&options, &mut progress)?)
            }
        };
        if let Some(out) = shaders {
            write_shaders(out, compiled_by.shaders()?)?;
        }
        drop(spinner);
        let document = found.on(&Gpu::open(&options)?, start.elapsed());
        if self.json {
            print_json(&document)?;
        } else {
            let mut page = Page::new();
            report::verify(&mut page, &document);
            print_styled(&page.finish())?;
        }
        match document.passed() {
            true => Ok(()),
            false => Err(CliError::OutsideTolerance(document.summary())),
        }
    }

    fn scope(&self) -> Scope {
        if self.full { Scope::Full } else { Scope::Usual }
    }

    fn products(&self) -> Result<Products, CliError> {
        match self.gemm.as_deref() {
            None => Ok(Products::Chosen),
            Some("all") if self.against.is_some() => {
                Err(CliError::Usage("--against: compares one trace; give --gemm one VARIANT".to_owned()))
            }
            Some("all") => Ok(Products::All),
            Some(name) => GemmVariant::from_str(name)
                .map(Products::One)
                .map_err(|error| CliError::Usage(format!("--gemm: {error}, or 'all'"))),
        }
    }

    fn files(&self) -> Result<ModelFiles, CliError> {
        let device = DeviceArgs { adapter: None, default_limits: false, memory_limit: None };
        ModelFiles::open(&ModelArgs {
            model: self.model.clone(),
            precision: Precision::F32,
            fit: false,
            device,
        })
    }

    /// What the flags say is traced, if they do.
    fn request(&self, files: &ModelFiles) -> Result<Option<TraceRequest>, CliError> {
        if !self.prompt.is_given() {
            if self.objective.is_given() {
                return Err(CliError::Usage(
                    "an objective without a prompt: give a text, or --ids 15496,995".to_owned(),
                ));
            }
            return Ok(None);
        }
        let mut ids = self.prompt.tokens(files)?;
        let objective = self.objective.objective(&mut ids, files)?;
        let request = TraceRequest::new(ids, objective);
        request.resolve(&files.config)?;
        Ok(Some(request))
    }

    /// What the file says was traced, and the flags where it does not.
    fn reference_request(&self, files: &ModelFiles, file: &ReferenceFile) -> Result<TraceRequest, CliError> {
        let wrong =
            |reason: String| CliError::from(RequestError::invalid(file.path().display().to_string(), reason));
        let mut ids = match (self.prompt.is_given(), file.tokens()) {
            (true, _) => self.prompt.tokens(files)?,
            (false, Some(tokens)) => tokens.to_vec(),
            (false, None) => {
                return Err(wrong("has no tensor 'tokens': give the prompt, or --ids".to_owned()));
            }
        };
        let objective = match (self.objective.is_given(), file.objective()) {
            (true, _) => self.objective.objective(&mut ids, files)?,
            (false, Some(objective)) => objective.clone(),
            (false, None) => {
                let reason = "does not say what was differentiated ('objective' in its metadata): give --target \
                              TOKEN, --target-id N, --completion TEXT or --next-token";
                return Err(wrong(reason.to_owned()));
            }
        };
        if let Some(tokens) = file.tokens().filter(|tokens| *tokens != ids) {
            let (theirs, ours) = (tokens.len(), ids.len());
            return Err(wrong(format!(
                "is of other tokens ({theirs} of them) than the prompt ({ours}): leave the prompt out"
            )));
        }
        let request = TraceRequest::new(ids, objective);
        request.resolve(&files.config).map_err(|error| wrong(format!("does not fit the model: {error}")))?;
        Ok(request)
    }
}
