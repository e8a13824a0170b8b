//! `--html`: the page in a file of its own.

use crate::engine::{ModelFiles, Traced};
use crate::error::CliError;
use crate::output::check_writable;
use crate::progress::Spinner;
use clap::Args;
use retrograd::formats::{parse_heads, trace_file, write_atomic};
use retrograd::{Capture, Interventions, RequestError};
use retrograd_web::{PageOptions, Views, page, page_capture};
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(next_help_heading = "Page")]
pub(crate) struct HtmlArgs {
    /// Write a page that opens in a browser and asks nothing of the network: overview, heads, lens, flow graph
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Views of the page: overview, heads, lens, flow [default: all]
    #[arg(long, value_name = "VIEWS", value_delimiter = ',', requires = "html")]
    views: Vec<String>,
    /// Heads whose maps the page has in f32, as in 0.1,3.7 [default: those with the largest ‖R‖, all of a short prompt's]
    #[arg(long, value_name = "HEADS", requires = "html")]
    exact: Option<String>,
    /// Write the tensors behind the page beside it, in full precision, as FILE with the ending .safetensors
    #[arg(long, requires = "html")]
    with_trace: bool,
}

impl HtmlArgs {
    /// The page's file, if one is wanted.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.html.as_deref()
    }

    fn trace_file(&self) -> Option<PathBuf> {
        self.html.as_ref().filter(|_| self.with_trace).map(|html| html.with_extension("safetensors"))
    }

    /// Checks, before anything is computed, that the files can be written.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        for path in self.html.iter().chain(self.trace_file().iter()) {
            check_writable(path)?;
        }
        if self.trace_file().as_deref() == self.file() && self.html.is_some() {
            let reason = "the page and its tensors would be one file: give --html a name that ends in .html";
            return Err(RequestError::invalid("--html", reason).into());
        }
        Ok(())
    }

    /// What the page shows, and what the trace must hold for it; `None` where no page is wanted.
    pub(crate) fn options(
        &self,
        first: &'static str,
        files: &ModelFiles,
        layers: Option<&str>,
    ) -> Result<Option<PageOptions>, CliError> {
        let Some(html) = &self.html else { return Ok(None) };
        let mut options = PageOptions::new(first, files.config.n_layer)?;
        if !self.views.is_empty() {
            options.views = Views::named(&self.views)?;
        }
        if let Some(layers) = layers {
            let kept = Capture::all().layers(layers)?;
            kept.check_layers(files.config.n_layer)?;
            options.lens_sites.retain(|site| kept.keeps(*site));
        }
        if let Some(heads) = &self.exact {
            let heads = parse_heads(heads)?;
            let named = Interventions { ablate: heads.iter().copied().collect(), patch: None };
            named.check(&files.config, 1)?;
            options.exact = Some(heads);
        }
        let beside = self.trace_file().unwrap_or_else(|| html.clone());
        let name = beside.file_name().map(|name| name.to_string_lossy().into_owned());
        options.full_precision = name.filter(|_| self.with_trace);
        Ok(Some(options))
    }

    /// What is kept: what the command itself needs, and what the page needs.
    pub(crate) fn capture(
        &self,
        options: &PageOptions,
        files: &ModelFiles,
        layers: Option<&str>,
    ) -> Result<Capture, CliError> {
        let capture = Capture::only(page_capture(options, &files.config)?);
        Ok(match layers {
            Some(layers) => capture.layers(layers)?,
            None => capture,
        })
    }

    /// Writes the page and, where that was asked for, the tensors beside it. Returns the files.
    pub(crate) fn write(
        &self,
        options: &PageOptions,
        traced: &Traced,
        interventions: &Interventions,
        files: &ModelFiles,
    ) -> Result<Vec<PathBuf>, CliError> {
        let Some(html) = &self.html else { return Ok(Vec::new()) };
        let spinner = Spinner::new(String::new());
        let mut progress = |stage: &str| {
            spinner.say(stage.to_owned());
            Ok(())
        };
        let (trace, tokenizer) = (traced.trace.as_ref(), files.tokenizer.as_ref());
        let page = page(trace, traced.model.as_ref(), options, tokenizer, &mut progress)?;
        let text = page.changed_by(interventions).to_html();
        let text = text.map_err(|error| CliError::Failed(error.to_string()))?;
        write_atomic(html, text.as_bytes())?;
        let mut written = vec![html.clone()];
        if let Some(path) = self.trace_file() {
            trace_file::write(&path, trace)?;
            written.push(path);
        }
        Ok(written)
    }
}
