//! A model in the oracle, as the device sees it, and moved by rounding.

use crate::random::Random;
use crate::report::largest;
use crate::rounding::ROUNDING;
use retrograd_formats::{RequestError, Site, TraceRequest, Weights};
use retrograd_model::{ModelError, Precision};
use retrograd_reference::{ReferenceModel, ReferenceTrace};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often rounding is drawn: the largest of so many is what is expected.
pub(super) const DRAWS: u64 = 2;

/// A model directory and the same model in f64.
pub(crate) struct Subject {
    pub(crate) dir: PathBuf,
    pub(crate) oracle: ReferenceModel,
    disturbed: Vec<ReferenceModel>,
}

impl Subject {
    /// Loads the model; for f16, with its matrices rounded as the device stores them.
    pub(crate) fn load(dir: &Path, precision: Precision) -> Result<Subject, ModelError> {
        let mut oracle = ReferenceModel::load(dir)?;
        if precision == Precision::F16 {
            let config = oracle.config().clone();
            for (name, values) in oracle.parameters_mut() {
                // As the device holds them: positions stay f32, as biases and norms do.
                if Weights::parameter_shape(&config, name).len() == 2 && !name.ends_with("wpe.weight") {
                    values.iter_mut().for_each(|value| *value = half::f16::from_f64(*value).to_f64());
                }
            }
        }
        let disturbed = (0..DRAWS).map(|draw| disturb(&oracle, draw)).collect();
        Ok(Subject { dir: dir.to_owned(), oracle, disturbed })
    }

    /// The oracle's trace, and for each of its tensors the change, relative to its largest value, that the
    /// rounding of f32 is expected to make.
    pub(crate) fn trace(&self, request: &TraceRequest) -> Result<Expected, RequestError> {
        let trace = self.oracle.trace(request)?;
        let others = self.disturbed.iter().map(|model| model.trace(request));
        let others = others.collect::<Result<Vec<_>, _>>()?;
        Ok(Expected { trace, others })
    }

    /// The loss's gradient in each parameter, and the relative change, in norm, that rounding is expected to make.
    pub(crate) fn gradients(
        &self,
        gradients: impl Fn(&ReferenceModel) -> Result<Gradients, RequestError>,
    ) -> Result<BTreeMap<String, (Vec<f64>, f64)>, RequestError> {
        let exact = gradients(&self.oracle)?;
        let mut largest_change: BTreeMap<String, f64> = BTreeMap::new();
        for model in &self.disturbed {
            for (name, moved) in gradients(model)? {
                let change = relative_norm(&moved, &exact[&name]);
                let so_far = largest_change.entry(name).or_default();
                *so_far = so_far.max(change);
            }
        }
        Ok(exact
            .into_iter()
            .map(|(name, values)| {
                let change = largest_change.get(&name).copied().unwrap_or(0.0);
                (name, (values, change))
            })
            .collect())
    }
}

/// By a parameter's HF name.
pub(crate) type Gradients = BTreeMap<String, Vec<f64>>;

/// ‖moved − exact‖/‖exact‖.
fn relative_norm(moved: &[f64], exact: &[f64]) -> f64 {
    let norm = exact.iter().map(|x| x * x).sum::<f64>().sqrt();
    let change = moved.iter().zip(exact).map(|(m, x)| (m - x) * (m - x)).sum::<f64>().sqrt();
    if norm > 0.0 { change / norm } else { change }
}

/// The oracle's answer with what rounding does to it.
pub(crate) struct Expected {
    trace: ReferenceTrace,
    others: Vec<ReferenceTrace>,
}

impl Expected {
    /// The oracle's tensor and the expected relative change; `None` for a site that was not captured.
    pub(crate) fn get(&self, site: Site) -> Option<(&[f64], f64)> {
        let exact = self.trace.get(site)?;
        let moved = self.others.iter().filter_map(|other| other.get(site));
        Some((exact, largest_change(exact, moved)))
    }
}

/// The largest relative change of a tensor among some.
pub(super) fn largest_change<'a>(exact: &[f64], moved: impl Iterator<Item = &'a [f64]>) -> f64 {
    let change = moved.fold(0.0f64, |most, moved| {
        moved.iter().zip(exact).fold(most, |most, (moved, exact)| most.max((moved - exact).abs()))
    });
    let scale = largest(exact);
    if scale > 0.0 { change / scale } else { change }
}

/// The model with every matrix moved as rounding would move what is computed with it: a sum of K products in f32
/// is off by about √K·2⁻²⁴ of its size, and so is the exact sum over weights that are off by that much.
fn disturb(model: &ReferenceModel, draw: u64) -> ReferenceModel {
    let mut moved = model.clone();
    let config = model.config().clone();
    let mut random = Random::new(draw + 1);
    for (name, values) in moved.parameters_mut() {
        let shape = Weights::parameter_shape(&config, name);
        let in_block = name.contains(".h.");
        // Inputs are summed over on the way forward, outputs on the way back; vocabulary and positions are
        // looked up.
        let terms = match shape[..] {
            [rows, columns] if in_block => rows.max(columns),
            _ => config.n_embd,
        };
        let amplitude = ((terms + 16) as f64).sqrt() * ROUNDING;
        values.iter_mut().for_each(|value| *value *= 1.0 + random.sign() * amplitude);
    }
    moved
}
