//! What a verification found: rows of a table, and the verdict.

use crate::rounding::{DEVIATIONS, Rounding};
use serde::Serialize;
use std::fmt;

/// The parts of a verification, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Section {
    /// Each operation of the engine against its twin in f64.
    Kernels,
    /// Each equation of a block, evaluated in f64 from what the device's own trace says stands on its right.
    Equations,
    /// What holds of every trace exactly.
    Identities,
    /// Each tensor of a trace against the oracle's.
    Trace,
    /// Each weight gradient against central differences of the oracle's loss.
    Differences,
    /// The same computation again: the same bits.
    Repetition,
    /// Each tensor of a trace against a file's.
    Reference,
}

impl Section {
    /// In the order of a report.
    pub const ALL: [Section; 7] = [
        Section::Kernels,
        Section::Equations,
        Section::Identities,
        Section::Trace,
        Section::Differences,
        Section::Repetition,
        Section::Reference,
    ];
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Sizes, layer, step: which of a check's comparisons this is.
    pub case: String,
    /// max |Δ|; infinite where a value is NaN or missing.
    pub max_difference: f64,
    /// max |reference|, or the size a result usually has where that is smaller by accident.
    pub max_reference: f64,
    /// The quotient of the two; max |Δ| itself where the reference is 0.
    pub relative: f64,
    /// The rounding to expect of f32, on the same scale.
    pub expected: f64,
    /// The largest that passes.
    pub allowed: f64,
    /// What the numbers suggest, where they are outside.
    pub hint: Option<String>,
    /// Its place in the order of computation.
    #[serde(skip)]
    sequence: usize,
}

impl Finding {
    /// Compares values with their reference.
    pub(crate) fn new(case: impl fmt::Display, found: &[f32], wanted: &[f64], rounding: Rounding) -> Self {
        Finding::within(case, found, wanted, rounding, DEVIATIONS * rounding.expected)
    }

    /// Compares values with their reference, under a tolerance of its own.
    pub(crate) fn within(
        case: impl fmt::Display,
        found: &[f32],
        wanted: &[f64],
        rounding: Rounding,
        allowed: f64,
    ) -> Self {
        let max_difference = deviation(found, wanted);
        let max_reference = largest(wanted).max(rounding.at_least);
        let relative = if max_reference > 0.0 { max_difference / max_reference } else { max_difference };
        let mut finding = Finding {
            case: case.to_string(),
            max_difference,
            max_reference,
            // 0/0 above, or a reference that is NaN: outside whatever is allowed.
            relative: if relative.is_nan() { f64::INFINITY } else { relative },
            expected: rounding.expected,
            allowed,
            hint: None,
            sequence: 0,
        };
        if !finding.passed() {
            finding.hint = hint(found, wanted);
        }
        finding
    }

    /// Compares a slope with one found in another way, relative to the size of a gradient.
    pub(crate) fn slope(
        case: impl fmt::Display,
        found: f64,
        wanted: f64,
        rounding: Rounding,
        allowed: f64,
    ) -> Self {
        let difference = (found - wanted).abs();
        let max_difference = if difference.is_nan() { f64::INFINITY } else { difference };
        let size = rounding.at_least;
        Finding {
            case: case.to_string(),
            max_difference,
            max_reference: size,
            relative: if size > 0.0 { max_difference / size } else { max_difference },
            expected: rounding.expected,
            allowed,
            hint: None,
            sequence: 0,
        }
    }

    /// Values that are equal as numbers and not as bits.
    pub(crate) fn differing(self) -> Self {
        let least = f64::from(f32::MIN_POSITIVE);
        let hint = Some("other bits".to_owned());
        Finding {
            relative: self.relative.max(least),
            max_difference: self.max_difference.max(least),
            hint,
            ..self
        }
    }

    /// Whether it is within what is allowed; NaN is not.
    pub fn passed(&self) -> bool {
        self.relative <= self.allowed
    }

    /// How much of what is allowed it takes.
    fn share(&self) -> f64 {
        match (self.relative > 0.0, self.allowed > 0.0) {
            (false, _) => 0.0,
            (true, false) => f64::INFINITY,
            (true, true) => self.relative / self.allowed,
        }
    }
}

/// Largest magnitude; infinite where one is NaN.
pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| if v.is_nan() { f64::INFINITY } else { m.max(v.abs()) })
}

/// max |found − wanted|; infinite where a value is NaN or missing.
pub(crate) fn deviation(found: &[f32], wanted: &[f64]) -> f64 {
    if found.len() != wanted.len() {
        return f64::INFINITY;
    }
    found.iter().zip(wanted).fold(0.0, |m, (f, w)| {
        let d = (f64::from(*f) - w).abs();
        // f64::max would pass over a NaN.
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    })
}

/// What is seen at a glance in wrong values: NaN, nothing, or the right ones times a factor.
fn hint(found: &[f32], wanted: &[f64]) -> Option<String> {
    if found.len() != wanted.len() {
        return Some(format!("{} values instead of {}", found.len(), wanted.len()));
    }
    let bad = found.iter().filter(|f| !f.is_finite()).count();
    if bad > 0 {
        return Some(format!("{bad} of {} values are NaN or infinite", found.len()));
    }
    if wanted.iter().any(|&w| w != 0.0) && found.iter().all(|&f| f == 0.0) {
        return Some("all 0".to_owned());
    }
    let (mut fw, mut ww, mut ff) = (0.0, 0.0, 0.0);
    for (&f, w) in found.iter().zip(wanted) {
        let f = f64::from(f);
        (fw, ww, ff) = (fw + f * w, ww + w * w, ff + f * f);
    }
    let factor = fw / ww;
    // The share of what was found that is not the reference times the factor.
    let rest = (1.0 - fw * fw / (ff * ww)).max(0.0).sqrt();
    let proportional = found.len() > 1 && rest < 1e-3 && (factor - 1.0).abs() > 1e-3;
    proportional.then(|| format!("{factor:.4} times what they should be"))
}

/// A row of the table: comparisons of one kind, and the one that takes most of what is allowed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The part it belongs to.
    pub section: Section,
    /// Operation, equation, identity, tensor or parameter.
    pub name: String,
    /// Whether every comparison is within what is allowed.
    pub passed: bool,
    /// Comparisons.
    pub cases: usize,
    /// Comparisons outside.
    pub outside: usize,
    /// The comparison that takes most of what is allowed.
    pub worst: Finding,
    /// The first outside in the order of computation.
    pub first_outside: Option<Finding>,
}

/// Everything that a verification found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The rows, by section, each section in the order of computation.
    pub checks: Vec<Check>,
    /// What could not be run here, and why.
    pub skipped: Vec<String>,
    comparisons: usize,
}

impl Report {
    /// Adds a comparison to the row of its name.
    pub(crate) fn add(&mut self, section: Section, name: impl Into<String>, mut finding: Finding) {
        let name = name.into();
        finding.sequence = self.comparisons;
        self.comparisons += 1;
        let at = self.checks.iter().position(|check| check.section == section && check.name == name);
        let Some(at) = at else {
            let passed = finding.passed();
            self.checks.push(Check {
                section,
                name,
                passed,
                cases: 1,
                outside: usize::from(!passed),
                first_outside: (!passed).then(|| finding.clone()),
                worst: finding,
            });
            return;
        };
        let check = &mut self.checks[at];
        check.cases += 1;
        if !finding.passed() {
            check.passed = false;
            check.outside += 1;
            check.first_outside.get_or_insert_with(|| finding.clone());
        }
        if finding.share() > check.worst.share() {
            check.worst = finding;
        }
    }

    /// Whether something was checked and all of it is within what is allowed.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.passed)
    }

    /// The rows of a section.
    pub fn section(&self, section: Section) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.section == section)
    }

    /// What is at fault, the most telling first: every kernel that is wrong by itself and every equation that
    /// does not hold of the device's own numbers; where there are none, the first tensor, in the order of
    /// computation, that is off. Empty when everything passed.
    pub fn at_fault(&self) -> Vec<String> {
        let failed = |section| self.section(section).filter(|check| !check.passed).collect::<Vec<_>>();
        let mut faults = Vec::new();
        for check in failed(Section::Kernels) {
            faults.push(format!("kernel {}", described(check)));
        }
        for check in failed(Section::Equations) {
            faults.push(format!("equation {}", described(check)));
        }
        for check in failed(Section::Identities) {
            faults.push(format!("identity {}", described(check)));
        }
        if !faults.is_empty() {
            return faults;
        }
        for (section, what) in [
            (Section::Trace, "tensor"),
            (Section::Reference, "tensor"),
            (Section::Differences, "gradient of"),
            (Section::Repetition, "repetition of"),
        ] {
            let first = |check: &&Check| check.first_outside.as_ref().map(|finding| finding.sequence);
            let first = failed(section).into_iter().min_by_key(first);
            faults.extend(first.map(|check| format!("{what} {}", described(check))));
        }
        faults
    }
}

/// A failed row in words: its name, where it first fails, and the hint.
fn described(check: &Check) -> String {
    let Some(finding) = &check.first_outside else { return check.name.clone() };
    let hint = finding.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!(
        "{} ({}: off by {:.1e}, {:.1e} allowed{hint})",
        check.name, finding.case, finding.relative, finding.allowed
    )
}
