//! A trace against gradients from anywhere else.

use crate::Devices;
use crate::model::gradients::gradient;
use crate::model::sites::{FLOOR, in_order_of_computation, kind};
use crate::model::subject::Subject;
use crate::report::{Finding, Report, Section};
use crate::rounding::{DEVIATIONS, Rounding};
use retrograd_formats::{
    Capture, FormatError, ReferenceFile, ReferenceName, ReferenceTensor, TraceRead, TraceRequest,
};
use retrograd_model::{Gpt2, ModelError, Precision};
use std::path::Path;

/// What [`against`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Against {
    /// The comparison, one row for each kind of tensor.
    pub report: Report,
    /// Tensors of a trace that the file does not have.
    pub missing: Vec<String>,
    /// Tensors of the file that no trace has.
    pub extra: Vec<String>,
}

/// Traces `request` on the device and compares every tensor that `file` has a reference for.
///
/// # Errors
/// When the file has no tensor of a trace, one of another shape or type, or one that is not finite; when the request
/// does not fit the model, or the device fails.
pub fn against(
    devices: &Devices,
    dir: &Path,
    precision: Precision,
    file: &ReferenceFile,
    request: &TraceRequest,
    progress: &mut dyn FnMut(&str),
) -> Result<Against, ModelError> {
    progress("loading the model into the oracle");
    let subject = Subject::load(dir, precision)?;
    let config = subject.oracle.config();
    let objective = request.resolve(config)?;
    let (known, extra) = file.names(config);
    if known.is_empty() {
        let reason = "has no tensor of a trace and no gradient of a parameter (NAME.grad) of this model";
        return Err(FormatError::malformed(file.path(), reason).into());
    }
    // Everything that is wrong with the file is said before anything is computed.
    let shape = |name: &ReferenceName| name.shape(config, request.ids.len(), objective.count);
    let references = known.iter().map(|name| file.tensor(name, &shape(name)));
    let references = references.collect::<Result<Vec<ReferenceTensor>, _>>()?;
    let gradients = known.iter().any(|name| matches!(name, ReferenceName::Gradient(_)));
    let asked = |name: &ReferenceName| gradients || matches!(name, ReferenceName::Site(_));
    let all = ReferenceName::all(config).into_iter().filter(asked);
    let missing = all.filter(|name| !known.contains(name)).map(|name| name.to_string()).collect();

    progress("tracing in f64, for the rounding to expect");
    let request = request.clone().capture(Capture::all());
    let expected = subject.trace(&request)?;
    let changes = match gradients {
        true => subject.gradients(|model| Ok(model.weight_gradients(&request)?.1))?,
        false => Default::default(),
    };
    progress("tracing on the device");
    let gpu = devices.open(None)?;
    let trace = Gpt2::load(&gpu, dir, precision)?.trace(&request)?;
    let mut report = Report::default();
    let mut add =
        |name: &ReferenceName, reference: &ReferenceTensor, found: &[f32], change: f64, row: String| {
            let rounding = Rounding { expected: change, at_least: 0.0 };
            let allowed = (DEVIATIONS * change).max(FLOOR) + reference.stored_rounding;
            let finding = Finding::within(name, found, &reference.values, rounding, allowed);
            report.add(Section::Reference, row, finding);
        };
    let at = |name: &ReferenceName| known.iter().position(|known| known == name);
    for site in in_order_of_computation(config.n_layer) {
        let name = ReferenceName::Site(site);
        let Some(at) = at(&name) else { continue };
        let change = expected.get(site).map_or(0.0, |(_, change)| change);
        add(&name, &references[at], trace.read(site)?.as_f32(), change, kind(site));
    }
    for (name, reference) in known.iter().zip(&references) {
        let ReferenceName::Gradient(parameter) = name else { continue };
        let found: Vec<f32> = gradient(&trace, parameter)?.into_iter().map(|value| value as f32).collect();
        let change = changes.get(parameter).map_or(0.0, |(_, change)| *change);
        add(name, reference, &found, change, format!("∂ {}", crate::model::parameter_kind(parameter)));
    }
    Ok(Against { report, missing, extra })
}
