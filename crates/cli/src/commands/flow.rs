//! `retrograd flow`

use crate::args::{HtmlArgs, TraceArgs};
use crate::engine::ModelFiles;
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::report::{self, Page};
use clap::Args;
use retrograd::lens::{FlowCounts, FlowFactors, FlowOptions, flow, flow_capture};
use retrograd::{Capture, RequestError};

#[derive(Args)]
#[command(
    after_help = "Without an objective, the target is what the model answers.\n\nExamples:\n  retrograd flow 'The capital of France is'\n  retrograd flow 'The capital of France is' --target ' Paris' --layers 2-3 --position 3 --json"
)]
pub(crate) struct FlowCommand {
    #[command(flatten)]
    trace: TraceArgs,
    /// The position that is shown, from 0 [default: the last]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    position: Option<String>,
    #[command(flatten)]
    shown: ShownArgs,
    /// Most and least probable tokens of each node in JSON
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// Divide each vector by its norm before it is read
    #[arg(long)]
    normalize: bool,
    /// Leave out the backward signal of the nodes and R of the attention's links
    #[arg(long)]
    no_gradient: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: HtmlArgs,
}

/// What becomes a node, and how thick links are.
#[derive(Args)]
#[command(next_help_heading = "Graph")]
pub(crate) struct ShownArgs {
    /// Heads of a layer, those with the largest output; -1 shows all
    #[arg(long, value_name = "N", default_value = "10", allow_negative_numbers = true)]
    heads: String,
    /// Keys and values of each head, those with the most attention
    #[arg(long, value_name = "N", default_value_t = 2)]
    keys: usize,
    /// Rows of the attention's output matrix: the most active, the most negative
    #[arg(long, value_name = "TOP,BOTTOM", default_value = "18,7")]
    rows: String,
    /// Neurons of the MLP: the most active, the most negative
    #[arg(long, value_name = "TOP,BOTTOM", default_value = "18,7")]
    neurons: String,
    /// A factor of the links' weights, as in attention=10; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    factor: Vec<String>,
}

impl ShownArgs {
    /// As options of a graph.
    pub(crate) fn options(&self) -> Result<FlowOptions, CliError> {
        let heads = match self.heads.trim() {
            "-1" => None,
            text => Some(text.parse().map_err(|_| {
                let reason =
                    format!("'{text}' is not a number of heads: a whole number from 0, or -1 for all");
                RequestError::invalid("--heads", reason)
            })?),
        };
        let (rows_top, rows_bottom) = ends("--rows", &self.rows)?;
        let (neurons_top, neurons_bottom) = ends("--neurons", &self.neurons)?;
        let mut factors = FlowFactors::default();
        for assignment in &self.factor {
            factors.set(assignment)?;
        }
        let counts =
            FlowCounts { heads, keys: self.keys, rows_top, rows_bottom, neurons_top, neurons_bottom };
        Ok(FlowOptions { counts, factors, ..FlowOptions::default() })
    }
}

/// `18,7`
fn ends(flag: &str, text: &str) -> Result<(usize, usize), RequestError> {
    text.split_once(',')
        .and_then(|(top, bottom)| Some((top.trim().parse().ok()?, bottom.trim().parse().ok()?)))
        .ok_or_else(|| RequestError::invalid(flag, format!("'{text}' is not TOP,BOTTOM, as in 18,7")))
}

/// `--position`, which is checked against the prompt where that is known.
pub(crate) fn position(text: Option<&str>) -> Result<Option<usize>, RequestError> {
    let Some(text) = text else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| {
        RequestError::invalid("--position", format!("'{text}' is not a position, a whole number from 0"))
    })
}

impl FlowCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if self.trace.capture.sites.is_some() {
            let reason = "the graph needs certain tensors of a layer: choose --layers instead";
            return Err(RequestError::invalid("--sites", reason).into());
        }
        self.page.check()?;
        let files = ModelFiles::open(&self.trace.model)?;
        let mut options = FlowOptions {
            layers: self.trace.capture.blocks(files.config.n_layer)?,
            position: position(self.position.as_deref())?,
            top: self.top,
            normalize: self.normalize,
            gradient: !self.no_gradient,
            ..self.shown.options()?
        };
        if self.top == 0 || self.top > files.config.vocab_size {
            let reason = format!(
                "{} tokens; the model's vocabulary allows 1 to {}",
                self.top, files.config.vocab_size
            );
            return Err(RequestError::invalid("--top", reason).into());
        }
        let layers = self.trace.capture.layers.as_deref();
        let mut shown = self.page.options("flow", &files, layers)?;
        let capture = match &mut shown {
            Some(shown) => {
                shown.flow = options.clone();
                self.page.capture(shown, &files, layers)?
            }
            None => Capture::only(flow_capture(&options, &files.config)?),
        };
        let (traced, interventions) = self.trace.run_answering(&files, capture)?;
        options.interventions = interventions;
        let mut written = Vec::new();
        if let Some(mut shown) = shown {
            shown.flow = options.clone();
            written = self.page.write(&shown, &traced, &options.interventions, &files)?;
        }
        let graph = flow(traced.trace.as_ref(), traced.model.as_ref(), &options, files.tokenizer.as_ref())?;
        if self.json {
            return print_json(&graph);
        }
        let mut page = Page::new();
        report::flow(&mut page, &graph);
        report::provenance(&mut page, &traced);
        for path in written {
            page.line(format_args!("wrote {}", path.display()));
        }
        print_styled(&page.finish())
    }
}
