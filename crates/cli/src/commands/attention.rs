//! `retrograd attention`

use crate::args::{HtmlArgs, TraceArgs};
use crate::engine::ModelFiles;
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::report::{self, Page};
use clap::Args;
use retrograd::lens::attention_report;
use retrograd::{BlockSite, Layer, Site};

#[derive(Args)]
#[command(after_help = "Example: retrograd attention 'The capital of France is' --target ' Paris' --top 5")]
pub(crate) struct AttentionCommand {
    #[command(flatten)]
    trace: TraceArgs,
    /// Only the strongest heads [default: all in JSON, 20 in text]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Keep no maps but those of --layers: the norms of every head's maps are computed on the device, so that memory does
    /// not grow with heads times tokens squared. For long prompts and large models
    #[arg(long, conflicts_with = "html")]
    norms: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: HtmlArgs,
}

/// Rows of the table where nobody says how many.
const ROWS: usize = 20;

impl AttentionCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        self.page.check()?;
        let files = ModelFiles::open(&self.trace.model)?;
        let layers = self.trace.capture.layers.as_deref();
        let mut written = Vec::new();
        let traced = if let Some(mut shown) = self.page.options("heads", &files, layers)? {
            shown.flow.layers = self.trace.capture.blocks(files.config.n_layer)?;
            let capture = self.page.capture(&shown, &files, layers)?;
            let (traced, interventions) = self.trace.run_changed(&files, capture)?;
            shown.flow.interventions = interventions.clone();
            written = self.page.write(&shown, &traced, &interventions, &files)?;
            traced
        } else if self.norms {
            let kept = if self.trace.capture.layers.is_some() { Some(maps) } else { None };
            let sites = kept.map_or_else(Vec::new, |maps| maps(files.config.n_layer));
            let capture = self.trace.capture.capture(Some(sites))?.head_norms();
            self.trace.run_keeping(&files, capture)?
        } else {
            self.trace.run(&files, Some(maps))?
        };
        let mut ranked = attention_report(traced.trace.as_ref(), files.tokenizer.as_ref())?;
        if self.json {
            ranked.heads.truncate(self.top.unwrap_or(usize::MAX));
            return print_json(&ranked);
        }
        let mut page = Page::new();
        report::attention(&mut page, &ranked, traced.trace.as_ref(), self.top.unwrap_or(ROWS))?;
        report::provenance(&mut page, &traced);
        for path in written {
            page.line(format_args!("wrote {}", path.display()));
        }
        print_styled(&page.finish())
    }
}

/// The two maps of every layer.
fn maps(n_layer: usize) -> Vec<Site> {
    let both = [BlockSite::Pattern, BlockSite::Reversed];
    (0..n_layer).flat_map(|layer| both.map(|site| Site::Block(Layer(layer), site))).collect()
}
