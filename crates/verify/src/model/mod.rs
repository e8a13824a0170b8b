//! A model's traces against the oracle, equation by equation and tensor by tensor.

mod differences;
mod equations;
pub(crate) mod gradients;
mod identities;
pub(crate) mod sites;
pub(crate) mod subject;
mod training;

pub(crate) use differences::kind as parameter_kind;

use crate::report::{Finding, Report, Section};
use crate::rounding::Rounding;
use crate::{Devices, random_model};
use equations::Equations;
use retrograd_formats::{Capture, Config, FormatError, Objective, TokenId, TraceRead, TraceRequest};
use retrograd_gpu::ops::GemmVariant;
use retrograd_model::{Gpt2, ModelError, Precision};
use std::path::Path;
use subject::Subject;

/// Tokens of the requests that are made up where nobody gives one.
const TOKENS: usize = 24;

/// What is traced of a model.
pub(crate) struct ModelChecks<'a> {
    pub(crate) devices: &'a Devices,
    pub(crate) dir: &'a Path,
    pub(crate) request: Option<&'a TraceRequest>,
    pub(crate) precisions: &'a [Precision],
    /// Ways to compute products, in turn; `None` for the one that the device chooses.
    pub(crate) variants: &'a [Option<GemmVariant>],
}

impl ModelChecks<'_> {
    pub(crate) fn run(&self, report: &mut Report, progress: &mut dyn FnMut(&str)) -> Result<(), ModelError> {
        let config = Config::from_dir(self.dir)?;
        let requests = match self.request {
            Some(request) => vec![("", request.clone().capture(Capture::all()))],
            None => usual_requests(&config),
        };
        for &precision in self.precisions {
            progress(&format!("loading {} into the oracle", self.dir.display()));
            let subject = Subject::load(self.dir, precision)?;
            let mut expected = Vec::new();
            for (what, request) in &requests {
                progress(&format!("tracing{what} in f64"));
                expected.push(subject.trace(request)?);
            }
            for &variant in self.variants {
                let gpu = self.devices.open(variant)?;
                // Said to be skipped among the kernels.
                if variant.is_some_and(|variant| !gpu.capabilities().runs(variant)) {
                    continue;
                }
                let model = Gpt2::load(&gpu, self.dir, precision)?;
                let row = if precision == Precision::F16 { " f16" } else { "" };
                for ((what, request), expected) in requests.iter().zip(&expected) {
                    let by = variant.map(|variant| format!(", by {variant}")).unwrap_or_default();
                    let suffix = (row, format!("{what}{by}"));
                    progress(&format!("tracing{}", suffix.1));
                    let trace = model.trace(request)?;
                    let suffix = (suffix.0, suffix.1.as_str());
                    let parameters = subject.oracle.parameters();
                    Equations::new(&trace, parameters, suffix, report)?.check().identities();
                    sites::compare(&trace, expected, suffix, report)?;
                    repeat(&model, request, &trace, suffix, report)?;
                }
            }
        }
        Ok(())
    }

    /// Weight gradients against differences, of this model or, where it is large, of a small one; and a step of
    /// training.
    pub(crate) fn gradients(
        &self,
        report: &mut Report,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), ModelError> {
        let small = tempfile::tempdir().map_err(|source| FormatError::io(std::env::temp_dir(), source))?;
        random_model::write(small.path())?;
        let gpu = self.devices.open(None)?;
        let stand_in = Subject::load(small.path(), Precision::F32)?;
        let chosen = Subject::load(self.dir, Precision::F32)?;
        let parameters: usize = chosen.oracle.parameters().values().map(Vec::len).sum();
        let subject = if parameters <= differences::MOST_PARAMETERS { &chosen } else { &stand_in };
        if parameters > differences::MOST_PARAMETERS {
            report.skipped.push(format!(
                "differences of the loss: {} has {parameters} parameters, for which they take too long; a small \
                 random model stands in for it",
                self.dir.display()
            ));
        }
        progress("differences of the loss");
        let model = Gpt2::load(&gpu, &subject.dir, Precision::F32)?;
        for (what, request) in usual_requests(subject.oracle.config()).iter().take(1) {
            let trace = model.trace(request)?;
            differences::compare(&trace, subject, request, what, report)?;
        }
        progress("a training step");
        training::compare(&gpu, &stand_in, report)
    }
}

/// The mean loss of every next token, which reaches every row of every tensor; and a loss on the last position,
/// whose backward pass leaves out what is 0.
fn usual_requests(config: &Config) -> Vec<(&'static str, TraceRequest)> {
    let tokens = TOKENS.min(config.n_positions);
    let mut random = crate::random::Random::new(42);
    let mut token = || TokenId(random.below(config.vocab_size) as u32);
    let ids: Vec<TokenId> = (0..tokens).map(|_| token()).collect();
    let target = TraceRequest::new(ids.clone(), Objective::Target(token()));
    match tokens {
        1 => vec![(", one token", target)],
        _ => {
            vec![(", next tokens", TraceRequest::new(ids, Objective::NextToken)), (", last position", target)]
        }
    }
}

/// The same pass again, and one that is recorded anew: the same bits.
fn repeat(
    model: &Gpt2,
    request: &TraceRequest,
    trace: &dyn TraceRead,
    (row, case): (&str, &str),
    report: &mut Report,
) -> Result<(), ModelError> {
    // While the first is held, the second is recorded anew; it is dropped and the third reuses it.
    for which in ["recorded again", "run again"] {
        let again = model.trace(request)?;
        let sites = trace.sites();
        for (site, (one, other)) in
            sites.iter().zip(trace.read_all(&sites)?.iter().zip(again.read_all(&sites)?))
        {
            let finding = same_bits(&format!("{site}{case}"), one.as_f32(), other.as_f32());
            report.add(Section::Repetition, format!("a trace {which}{row}"), finding);
        }
    }
    Ok(())
}

/// Whether two results are the same, bit for bit.
fn same_bits(case: &str, one: &[f32], other: &[f32]) -> Finding {
    let differing = one.len() != other.len()
        || one.iter().zip(other).any(|(one, other)| one.to_bits() != other.to_bits());
    let wanted: Vec<f64> = one.iter().map(|&value| f64::from(value)).collect();
    match differing {
        // −0 and 0, or two NaN, differ in bits without a difference.
        true => Finding::new(case, other, &wanted, Rounding::none()).differing(),
        false => Finding::new(case, one, &wanted, Rounding::none()),
    }
}
