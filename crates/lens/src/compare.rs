//! Two traces of the same request, tensor by tensor.

use retrograd_formats::{RequestError, Site, TraceRead};
use serde::Serialize;

/// How far a tensor is from its reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deviation {
    /// The tensor's name in a trace file.
    pub site: String,
    /// max |Δ|.
    pub max_difference: f64,
    /// max |reference|.
    pub max_reference: f64,
    /// max |Δ| / max |reference|; where the reference is 0 everywhere, max |Δ| itself. Infinite where a
    /// value is NaN.
    pub relative: f64,
}

/// Compares every floating-point tensor that both traces hold.
///
/// # Errors
/// When a trace cannot be read, or the two are of different shapes.
pub fn compare(trace: &dyn TraceRead, reference: &dyn TraceRead) -> Result<Vec<Deviation>, RequestError> {
    let other = reference.sites();
    let shared = trace.sites().into_iter().filter(|site| *site != Site::Tokens && other.contains(site));
    shared.map(|site| deviation(trace, reference, site)).collect()
}

/// The tensor that is furthest off, relative to its reference's largest value.
pub fn worst(deviations: &[Deviation]) -> Option<&Deviation> {
    deviations.iter().max_by(|a, b| a.relative.total_cmp(&b.relative))
}

fn deviation(
    trace: &dyn TraceRead,
    reference: &dyn TraceRead,
    site: Site,
) -> Result<Deviation, RequestError> {
    let (have, expected) = (trace.read(site)?, reference.read(site)?);
    if have.shape != expected.shape {
        return Err(RequestError::invalid(
            site.to_string(),
            format!("has shape {:?}, the reference {:?}", have.shape, expected.shape),
        ));
    }
    let (mut max_difference, mut max_reference) = (0.0f64, 0.0f64);
    for (&have, &expected) in have.as_f32().iter().zip(expected.as_f32()) {
        let difference = (f64::from(have) - f64::from(expected)).abs();
        // f64::max would pass over a NaN.
        max_difference = max_difference.max(if difference.is_nan() { f64::INFINITY } else { difference });
        max_reference = max_reference.max(f64::from(expected).abs());
    }
    let relative = if max_reference > 0.0 { max_difference / max_reference } else { max_difference };
    Ok(Deviation { site: site.to_string(), max_difference, max_reference, relative })
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrograd_formats::{Capture, Objective, TokenId, TraceRequest};
    use retrograd_reference::ReferenceModel;
    use std::path::Path;

    #[test]
    fn a_trace_equals_itself_and_not_another() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/three_layers");
        let model = ReferenceModel::load(&dir).unwrap();
        let ids = [3, 1, 4].map(TokenId).to_vec();
        let one = model.trace(&TraceRequest::new(ids.clone(), Objective::Target(TokenId(2)))).unwrap();
        let same = compare(&one, &one).unwrap();
        assert_eq!(same.len(), one.sites().len() - 1);
        assert_eq!(worst(&same).unwrap().relative, 0.0);

        let other = TraceRequest::new(ids, Objective::Target(TokenId(5))).capture(Capture::none());
        let differing = compare(&one, &model.trace(&other).unwrap()).unwrap();
        assert_eq!(differing.len(), 1);
        assert!(worst(&differing).unwrap().relative > 0.0);
    }
}
