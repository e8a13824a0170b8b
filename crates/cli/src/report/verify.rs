//! What `retrograd verify` found.

use super::number::count;
use super::page::{Page, columns, fit, paint};
use super::style::{DIM, GOOD, WRONG};
use crate::engine::ModelFiles;
use retrograd::verify::{Against, Check, Report, Section};
use retrograd::{Gpu, TraceRequest};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// The document of `retrograd verify --json`.
#[derive(Serialize)]
pub(crate) struct Verdict {
    schema: &'static str,
    model: Option<String>,
    tokens: Option<Vec<Token>>,
    version: &'static str,
    adapter: String,
    driver: String,
    /// The variant of the matrix product that the device chooses.
    gemm: String,
    passed: bool,
    at_fault: Vec<String>,
    comparisons: usize,
    checks: Vec<Check>,
    skipped: Vec<String>,
    reference: Option<String>,
    missing: Vec<String>,
    extra: Vec<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    text: Option<String>,
}

impl Verdict {
    fn new(report: Report) -> Self {
        Verdict {
            schema: "retrograd-verify/1",
            model: None,
            tokens: None,
            version: env!("CARGO_PKG_VERSION"),
            adapter: String::new(),
            driver: String::new(),
            gemm: String::new(),
            passed: report.passed(),
            at_fault: report.at_fault(),
            comparisons: report.checks.iter().map(|check| check.cases).sum(),
            checks: report.checks,
            skipped: report.skipped,
            reference: None,
            missing: Vec::new(),
            extra: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Of kernels alone.
    pub(crate) fn kernels(report: Report) -> Self {
        Verdict::new(report)
    }

    /// Of kernels and a model.
    pub(crate) fn model(files: &ModelFiles, request: Option<&TraceRequest>, report: Report) -> Self {
        let tokens = request.map(|request| tokens(files, request));
        Verdict { model: Some(files.dir.display().to_string()), tokens, ..Verdict::new(report) }
    }

    /// Of a trace beside a file.
    pub(crate) fn against(files: &ModelFiles, request: &TraceRequest, path: &Path, found: Against) -> Self {
        Verdict {
            reference: Some(path.display().to_string()),
            missing: found.missing,
            extra: found.extra,
            ..Verdict::model(files, Some(request), found.report)
        }
    }

    /// Says where it was found.
    pub(crate) fn on(self, gpu: &Gpu, time: Duration) -> Self {
        let adapter = gpu.adapter();
        Verdict {
            adapter: adapter.name.clone(),
            driver: format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned(),
            gemm: gpu.gemm_variant().to_string(),
            seconds: time.as_secs_f64(),
            ..self
        }
    }

    pub(crate) fn passed(&self) -> bool {
        self.passed
    }

    /// What is outside, in one line.
    pub(crate) fn summary(&self) -> String {
        let outside = self.checks.iter().filter(|check| !check.passed).count();
        format!("{outside} of {} checks are outside: {}", self.checks.len(), self.at_fault.join("; "))
    }
}

fn tokens(files: &ModelFiles, request: &TraceRequest) -> Vec<Token> {
    let text = |id| files.tokenizer.as_ref().map(|tokenizer| tokenizer.decode(&[id]));
    request.ids.iter().map(|id| Token { id: id.0, text: text(*id) }).collect()
}

/// Title of a part, and what is compared in it.
fn title(section: Section) -> (&'static str, &'static str) {
    match section {
        Section::Kernels => ("Kernels", "each operation against its twin in f64"),
        Section::Equations => {
            ("Equations", "each of the model's, evaluated in f64 from the device's own tensors")
        }
        Section::Identities => ("Identities", "what holds of every trace"),
        Section::Trace => ("Trace", "each tensor against the f64 oracle's"),
        Section::Differences => {
            ("Differences", "each weight gradient against central differences of the loss")
        }
        Section::Repetition => ("Repetition", "the same again: the same bits"),
        Section::Reference => ("Reference", "each tensor against the file's"),
        _ => ("Others", ""),
    }
}

/// Columns of everything but the name.
const NUMBERS: usize = 2 + 6 + 11 + 11 + 11 + 9;
/// No name is longer.
const LONGEST_NAME: usize = 42;

/// The page.
pub(crate) fn verify(page: &mut Page, verdict: &Verdict) {
    let width = verdict.checks.iter().map(|check| columns(&check.name)).max().unwrap_or(0);
    let width = width.min(LONGEST_NAME).min(page.width().saturating_sub(NUMBERS)).max(12);
    for section in Section::ALL {
        let checks: Vec<&Check> = verdict.checks.iter().filter(|check| check.section == section).collect();
        if checks.is_empty() {
            continue;
        }
        let (name, meaning) = title(section);
        page.heading(name, meaning);
        page.line(paint(
            DIM,
            format_args!(
                "  {}{:>6}{:>11}{:>11}{:>11}",
                fit("", width),
                "cases",
                "Δ/|ref|",
                "expected",
                "allowed"
            ),
        ));
        for check in checks {
            row(page, check, width);
        }
    }
    for skipped in &verdict.skipped {
        page.line("");
        page.remark(&format!("not run: {skipped}"));
    }
    names(page, "not in the file", &verdict.missing);
    names(page, "in the file and in no trace of this model", &verdict.extra);
    page.line("");
    page.remark(
        "Δ/|ref|: largest difference by largest reference value, of the comparison that takes most of what is \
         allowed. expected: the rounding of f32, for kernels √n·2⁻²⁴ for sums of n terms; for traces and equations \
         what f64 makes of weights or inputs that are moved by as much. allowed: four times that, or 2e-6.",
    );
    let model = verdict.model.as_ref().map(|model| format!("{model} on ")).unwrap_or_default();
    page.remark(&format!(
        "{model}{} [{}], products by {}, driver-side checks on",
        verdict.adapter, verdict.driver, verdict.gemm
    ));
    let (checks, comparisons) = (count(verdict.checks.len()), count(verdict.comparisons));
    page.line("");
    if verdict.passed {
        let within = format!("{comparisons} comparisons in {checks} checks, {:.1} s", verdict.seconds);
        page.line(format_args!("{}  {within}", paint(GOOD, "all within tolerance")));
    } else {
        page.line(format_args!("{}  at fault:", paint(WRONG, "outside tolerance")));
        for fault in &verdict.at_fault {
            page.line(format_args!("  {fault}"));
        }
    }
}

fn row(page: &mut Page, check: &Check, width: usize) {
    let worst = &check.worst;
    let number = |x: f64| if x == 0.0 { "0".to_owned() } else { format!("{x:.1e}") };
    let verdict = if check.passed { paint(GOOD, "ok") } else { paint(WRONG, "OUTSIDE") };
    page.line(format_args!(
        "  {}{:>6}{:>11}{:>11}{:>11}  {verdict}",
        fit(&check.name, width),
        count(check.cases),
        number(worst.relative),
        number(worst.expected),
        number(worst.allowed),
    ));
    if let Some(first) = &check.first_outside {
        let hint = first.hint.as_ref().map(|hint| format!(": {hint}")).unwrap_or_default();
        let others = format!("{} of {} outside, first", check.outside, check.cases);
        page.line(paint(DIM, format_args!("    {others} {}{hint}", first.case)));
    }
}

/// Names, wrapped.
fn names(page: &mut Page, what: &str, names: &[String]) {
    if names.is_empty() {
        return;
    }
    page.line("");
    page.remark(&format!("{what} ({}): {}", names.len(), names.join(" ")));
}
