//! `retrograd lens`

use crate::args::{HtmlArgs, TraceArgs};
use crate::engine::ModelFiles;
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::report::{self, Page};
use crate::study::Outputs;
use clap::{Args, ValueEnum};
use retrograd::lens::{
    LensOptions, LensReport, gradient_report, gradient_report_sites, lens, lens_capture, lens_csv, lens_sites,
};
use retrograd::{Capture, RequestError};
use retrograd_figures::{Drawing, LensPanels, lens_figure};
use retrograd_web::page_capture;
use std::path::PathBuf;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  retrograd lens 'The capital of France is' --target ' Paris'\n  retrograd lens 'The capital of France is' --target ' Paris' --sites resid_post --csv france.csv"
)]
pub(crate) struct LensCommand {
    #[command(flatten)]
    trace: TraceArgs,
    /// Divide each vector by its norm before it is read
    #[arg(long)]
    normalize: bool,
    /// Most and least probable tokens of each reading in JSON and CSV
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Every weight gradient too: rank, singular values, where it comes from, what it reads as
    #[arg(long)]
    report: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Write the readings as comma-separated values
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw tables, rank curves and norms as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The same as PNG, two pixels to each of SVG's
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Panels of the figure: tables, ranks, norms
    #[arg(long, value_name = "PANELS", value_delimiter = ',', default_value = "tables,ranks,norms")]
    panels: Vec<Panel>,
    #[command(flatten)]
    page: HtmlArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Panel {
    Tables,
    Ranks,
    Norms,
}

impl LensCommand {
    pub(crate) fn run(mut self) -> Result<(), CliError> {
        let outputs = Outputs { csv: self.csv.take(), svg: self.svg.take(), png: self.png.take() };
        outputs.check()?;
        self.page.check()?;
        let files = ModelFiles::open(&self.trace.model)?;
        let capture = &self.trace.capture;
        let sites = lens_sites(capture.sites.as_deref(), capture.layers.as_deref(), files.config.n_layer)?;
        if self.top == 0 || self.top > files.config.vocab_size {
            let reason = format!(
                "{} tokens; the model's vocabulary allows 1 to {}",
                self.top, files.config.vocab_size
            );
            return Err(RequestError::invalid("--top", reason).into());
        }
        let mut kept = lens_capture(&sites);
        if self.report {
            kept.extend(gradient_report_sites(files.config.n_layer));
        }
        let mut shown = self.page.options("lens", &files, None)?;
        if let Some(shown) = &mut shown {
            if capture.sites.is_some() || capture.layers.is_some() {
                shown.lens_sites.clone_from(&sites);
            }
            (shown.lens_top, shown.normalize) = (Some(self.top), self.normalize);
            shown.flow.layers = capture.blocks(files.config.n_layer)?;
            kept.extend(page_capture(shown, &files.config)?);
        }
        let (traced, interventions) = self.trace.run_changed(&files, Capture::only(kept))?;
        let mut written = Vec::new();
        if let Some(mut shown) = shown {
            shown.flow.interventions = interventions.clone();
            written = self.page.write(&shown, &traced, &interventions, &files)?;
        }
        let options = LensOptions { sites, top: self.top, normalize: self.normalize };
        let (trace, model, tokenizer) =
            (traced.trace.as_ref(), traced.model.as_ref(), files.tokenizer.as_ref());
        let mut report = lens(trace, model, &options, tokenizer)?;
        if self.report {
            report.gradients = Some(gradient_report(trace, model, tokenizer)?);
        }
        outputs.write(|| lens_csv(&report), || self.figure(&report, files.config.vocab_size))?;
        if self.json {
            return print_json(&report);
        }
        let mut page = Page::new();
        report::lens(&mut page, &report);
        report::provenance(&mut page, &traced);
        outputs.say(&mut page);
        for path in written {
            page.line(format_args!("wrote {}", path.display()));
        }
        print_styled(&page.finish())
    }

    /// Tables, curves and norms as they were asked for.
    fn figure(&self, report: &LensReport, vocabulary: usize) -> Drawing {
        let has = |panel| self.panels.contains(&panel);
        let panels =
            LensPanels { tables: has(Panel::Tables), ranks: has(Panel::Ranks), norms: has(Panel::Norms) };
        lens_figure(report, vocabulary, panels)
    }
}
