//! `retrograd attention`

use crate::args::{HtmlArgs, Part, TaskPromptArgs, TraceArgs};
use crate::engine::{Engine, ModelFiles};
use crate::error::CliError;
use crate::output::{check_writable, print_json, print_styled};
use crate::progress::Counted;
use crate::report::{self, Page};
use crate::study::Outputs;
use clap::Args;
use retrograd::formats::trace_file;
use retrograd::lens::{
    AttentionReport, MapMoment, MeanTrace, ObjectiveHeads, TaskAttentionReport, TokenText, attention_report,
    rank_heads, task_attention, task_maps, token_texts,
};
use retrograd::{
    BlockSite, Capture, HostTensor, Layer, ModelError, Objective, RequestError, Site, TokenId, TraceRead,
    TraceRequest,
};
use retrograd_figures::{Drawing, DrawnHead, attention_figure};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  retrograd attention 'The capital of France is' --target ' Paris' --top 5 --svg france.svg
  retrograd attention 'The capital of France is' --target ' Paris' --also ' Rome' --also ' Madrid'
  retrograd attention --task country-capital --shots 5 --out mean.safetensors";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AttentionCommand {
    #[command(flatten)]
    trace: TraceArgs,
    /// One more target, with a backward pass of its own on the same forward pass; may be repeated
    #[arg(long, value_name = "TOKEN", requires = "target", conflicts_with_all = ["norms", "task", "html"])]
    also: Vec<String>,
    /// A task instead of a prompt: a JSON list of {"input", "output"}, or the name of one of the model's tasks. Sizes and
    /// maps are means over its training part
    #[arg(long, value_name = "TASK", conflicts_with_all = ["prompt", "ids", "target", "target_id", "completion", "next_token", "minus", "minus_id", "norms", "ablate", "patch", "html"])]
    task: Option<String>,
    /// Demonstrations in a task's prompts
    #[arg(long, value_name = "N", default_value_t = 5)]
    shots: usize,
    #[command(flatten)]
    prompts: TaskPromptArgs,
    /// Only the strongest heads [default: all in JSON, 20 in text]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Keep no maps but those of --layers: the norms of every head's maps are computed on the device, so that memory does
    /// not grow with heads times tokens squared. For long prompts and large models
    #[arg(long, conflicts_with = "html")]
    norms: bool,
    #[command(flatten)]
    outputs: AttentionOutputs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: HtmlArgs,
}

#[derive(Args)]
#[command(next_help_heading = "Files")]
struct AttentionOutputs {
    /// Write the norms of both maps as comma-separated values: heads down, layers across
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the norms of all heads, and both maps of the strongest, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The same as PNG
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Heads whose maps are drawn
    #[arg(long, value_name = "N", default_value_t = 3)]
    draw: usize,
    /// Write all maps as a safetensors trace file; of a task their means, and their standard deviations beside them
    /// (NAME.std.safetensors)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Rows of the table where nobody says how many.
const ROWS: usize = 20;

impl AttentionCommand {
    pub(crate) fn run(mut self) -> Result<(), CliError> {
        let files = &mut self.outputs;
        let outputs = Outputs { csv: files.csv.take(), svg: files.svg.take(), png: files.png.take() };
        outputs.check()?;
        if let Some(path) = &self.outputs.out {
            check_writable(path)?;
        }
        match &self.task {
            Some(task) => self.on_task(task, &outputs),
            None if self.also.is_empty() => self.on_prompt(&outputs),
            None => self.on_objectives(&outputs),
        }
    }

    fn on_prompt(&self, outputs: &Outputs) -> Result<(), CliError> {
        self.page.check()?;
        if self.page.file().is_some() && self.trace.capture.sites.is_some() {
            let reason = "a page needs certain tensors: choose --views and --layers instead";
            return Err(RequestError::invalid("--sites", reason).into());
        }
        let files = ModelFiles::open(&self.trace.model)?;
        let layers = self.trace.capture.layers.as_deref();
        let mut written = Vec::new();
        let traced = match self.page.options("heads", &files, layers)? {
            Some(mut shown) => {
                shown.flow.layers = self.trace.capture.blocks(files.config.n_layer)?;
                let capture = self.page.capture(&shown, &files, layers)?;
                let (traced, interventions) = self.trace.run_changed(&files, capture)?;
                shown.flow.interventions = interventions.clone();
                written = self.page.write(&shown, &traced, &interventions, &files)?;
                traced
            }
            None => self.trace.run_keeping(&files, self.capture_of(&files)?)?,
        };
        let trace = traced.trace.as_ref();
        let mut ranked = attention_report(trace, files.tokenizer.as_ref())?;
        let drawn = |count| drawn_heads(trace, &ranked, count);
        let figure = self.figure(outputs, &ranked, drawn)?;
        let csv = || report::attention_csv(sizes(&ranked));
        outputs.write(csv, || figure)?;
        if let Some(path) = &self.outputs.out {
            trace_file::write(path, trace)?;
        }
        if self.json {
            ranked.heads.truncate(self.top.unwrap_or(usize::MAX));
            return print_json(&ranked);
        }
        let mut page = Page::new();
        report::attention(&mut page, &ranked, trace, self.top.unwrap_or(ROWS))?;
        report::provenance(&mut page, &traced);
        outputs.say(&mut page);
        for path in written.iter().chain(&self.outputs.out) {
            page.line(format_args!("wrote {}", path.display()));
        }
        print_styled(&page.finish())
    }

    fn capture_of(&self, files: &ModelFiles) -> Result<Capture, CliError> {
        let sites = maps(files.config.n_layer);
        if !self.norms {
            return self.trace.capture.capture(Some(sites));
        }
        let kept = if self.trace.capture.layers.is_some() { sites } else { Vec::new() };
        Ok(self.trace.capture.capture(Some(kept))?.head_norms())
    }

    fn figure(
        &self,
        outputs: &Outputs,
        ranked: &AttentionReport,
        drawn: impl FnOnce(usize) -> Result<Vec<DrawnHead>, CliError>,
    ) -> Result<Drawing, CliError> {
        if outputs.svg.is_none() && outputs.png.is_none() {
            return Ok(Drawing::new(1.0, 1.0));
        }
        let tokens: Vec<String> = ranked.tokens.iter().map(TokenText::label).collect();
        Ok(attention_figure("one prompt", &sizes(ranked), &tokens, &drawn(self.outputs.draw)?))
    }

    /// Several targets on one forward pass.
    fn on_objectives(&self, outputs: &Outputs) -> Result<(), CliError> {
        if outputs.svg.is_some()
            || outputs.png.is_some()
            || outputs.csv.is_some()
            || self.outputs.out.is_some()
        {
            return Err(CliError::Usage(
                "--also: files are written for one target at a time: leave it out".to_owned(),
            ));
        }
        let files = ModelFiles::open(&self.trace.model)?;
        let mut ids = self.trace.prompt.tokens(&files)?;
        let first = self.trace.objective.objective(&mut ids, &files)?;
        let tokenizer = crate::args::require_tokenizer(&files, "--also", "run once for each --target-id")?;
        let mut objectives = vec![first.clone()];
        for target in &self.also {
            let token = tokenizer.single_token(target)?;
            objectives.push(match first {
                Objective::LogitDifference { minus, .. } => Objective::LogitDifference { token, minus },
                _ => Objective::Target(token),
            });
        }
        let interventions = self.trace.interventions.interventions(&files.config, ids.len())?;
        let request = TraceRequest::new(ids.clone(), first)
            .interventions(interventions)
            .capture(Capture::none().head_norms());
        request.resolve(&files.config)?;
        let Engine::Device(model) = Engine::open(&self.trace.model, &files)? else {
            return Err(CliError::Failed(
                "--also: needs a device; the oracle traces one target at a time".to_owned(),
            ));
        };
        let mut results = Vec::new();
        model.trace_objectives(&request, &objectives, |at, trace| {
            let mut heads = rank_heads(trace)?;
            heads.truncate(self.top.unwrap_or(usize::MAX));
            let target = target_of(&objectives[at]);
            results.push(ObjectiveHeads {
                target: token_texts(&[target], Some(tokenizer)).remove(0),
                loss: trace.loss()?,
                heads,
            });
            Ok::<(), ModelError>(())
        })?;
        let document = retrograd::lens::ObjectivesReport {
            schema: "retrograd-attention/1",
            model: files.dir.display().to_string(),
            tokens: token_texts(&ids, Some(tokenizer)),
            objectives: results,
        };
        if self.json {
            return print_json(&document);
        }
        let mut page = Page::new();
        report::objectives(&mut page, &document, self.top.unwrap_or(ROWS));
        print_styled(&page.finish())
    }

    fn on_task(&self, task: &str, outputs: &Outputs) -> Result<(), CliError> {
        let run = self.prompts.open(task, &self.trace.model)?;
        let prompts = run.prompts(Part::Train, self.shots)?;
        let model = run.load(&self.trace.model)?;
        let mut progress = Counted::new("prompts traced", prompts.len());
        let found = task_maps(&model, &prompts, run.span, &mut |done| progress.at(done))?;
        drop(progress);
        let mut description = run.describe();
        description["shots"] = self.shots.into();
        let mut document = task_attention(&run.files.dir.display().to_string(), description, &found);
        if outputs.svg.is_some() || outputs.png.is_some() || outputs.csv.is_some() {
            let mean = MeanTrace::new(&model, &found, &prompts, MapMoment::Mean)?;
            let csv = || report::attention_csv(task_sizes(&document));
            let tokens: Vec<String> = token_texts(&mean.meta().ids, run.files.tokenizer.as_ref())
                .iter()
                .map(TokenText::label)
                .collect();
            let drawn = drawn_means(&mean, &document, self.outputs.draw)?;
            let what = format!("{}, {} shots, mean of {} prompts", run.task.name, self.shots, prompts.len());
            outputs.write(csv, || attention_figure(&what, &task_sizes(&document), &tokens, &drawn))?;
        }
        if let Some(path) = &self.outputs.out {
            trace_file::write(path, &MeanTrace::new(&model, &found, &prompts, MapMoment::Mean)?)?;
            let beside = path.with_extension("std.safetensors");
            trace_file::write(&beside, &MeanTrace::new(&model, &found, &prompts, MapMoment::Std)?)?;
        }
        if self.json {
            document.heads.truncate(self.top.unwrap_or(usize::MAX));
            return print_json(&document);
        }
        let mut page = Page::new();
        report::task_attention(&mut page, &run.task.name, &document, self.top.unwrap_or(ROWS));
        outputs.say(&mut page);
        if let Some(path) = &self.outputs.out {
            page.line(format_args!("wrote {}", path.display()));
        }
        print_styled(&page.finish())
    }
}

fn target_of(objective: &Objective) -> TokenId {
    match objective {
        Objective::Target(token) | Objective::LogitDifference { token, .. } => *token,
        _ => TokenId(0),
    }
}

/// The two maps of every layer.
fn maps(n_layer: usize) -> Vec<Site> {
    let both = [BlockSite::Pattern, BlockSite::Reversed];
    (0..n_layer).flat_map(|layer| both.map(|site| Site::Block(Layer(layer), site))).collect()
}

fn sizes(ranked: &AttentionReport) -> Vec<(retrograd::Head, f64, f64)> {
    ranked
        .heads
        .iter()
        .map(|head| (head.id(), head.pattern_norm.unwrap_or(0.0), head.reversed_norm))
        .collect()
}

pub(super) fn task_sizes(document: &TaskAttentionReport) -> Vec<(retrograd::Head, f64, f64)> {
    document.heads.iter().map(|head| (head.id(), head.pattern_norm, head.reversed_norm)).collect()
}

/// Both maps of the strongest heads whose maps were kept.
fn drawn_heads(
    trace: &dyn TraceRead,
    ranked: &AttentionReport,
    count: usize,
) -> Result<Vec<DrawnHead>, CliError> {
    let kept = trace.sites();
    let both = |layer| [BlockSite::Pattern, BlockSite::Reversed].map(|site| Site::Block(Layer(layer), site));
    let has = |layer: usize| both(layer).iter().all(|site| kept.contains(site));
    let mut drawn = Vec::new();
    for score in ranked.heads.iter().filter(|score| has(score.layer)).take(count) {
        let remark = format!(
            "‖R‖ {:.3e}, ‖A‖ {:.3}; keys across, queries down",
            score.reversed_norm,
            score.pattern_norm.unwrap_or(0.0)
        );
        let read = trace.read_all(&both(score.layer))?;
        drawn.push(drawn_head(score.id(), remark, &read));
    }
    Ok(drawn)
}

pub(super) fn drawn_means(
    mean: &MeanTrace<'_>,
    document: &TaskAttentionReport,
    count: usize,
) -> Result<Vec<DrawnHead>, CliError> {
    let mut drawn = Vec::new();
    for head in document.heads.iter().take(count) {
        let both = [BlockSite::Pattern, BlockSite::Reversed].map(|site| Site::Block(Layer(head.layer), site));
        let remark = format!(
            "mean maps; ‖R‖ {:.3e} ± {:.1e}; keys across, queries down",
            head.reversed_norm, head.reversed_std
        );
        drawn.push(drawn_head(head.id(), remark, &mean.read_all(&both)?));
    }
    Ok(drawn)
}

fn drawn_head(head: retrograd::Head, remark: String, both: &[HostTensor]) -> DrawnHead {
    let of = |at: usize| {
        let tensor = &both[at];
        let map = tensor.shape[1] * tensor.shape[2];
        tensor.as_f32()[head.head * map..][..map].to_vec()
    };
    DrawnHead { head, remark, pattern: of(0), reversed: of(1) }
}
