//! Each tensor of a trace against the oracle's.

use super::subject::Expected;
use crate::report::{Finding, Report, Section};
use crate::rounding::{DEVIATIONS, Rounding};
use retrograd_formats::{BlockSite, Layer, RequestError, Site, TraceRead};

/// What is allowed in any case: the project's yardstick, 2e-6 of a tensor's largest value, which is what
/// PyTorch-f32 leaves on models whose numbers are all of one size.
pub(crate) const FLOOR: f64 = 2e-6;

/// Every tensor of a trace in the order in which a pass computes them: where the first is off, the fault is.
pub(crate) fn in_order_of_computation(n_layer: usize) -> Vec<Site> {
    use BlockSite::*;
    let forward = [ResidPre, CAttnInput, Pattern, AttnProjInput, ResidMid, FcInput, MlpProjInput, ResidPost];
    let backward = [
        ResidPostDelta,
        MlpProjDelta,
        FcDelta,
        Ln2WeightGrad,
        Ln2BiasGrad,
        ResidMidDelta,
        AttnProjDelta,
        Reversed,
        CAttnDelta,
        Ln1WeightGrad,
        Ln1BiasGrad,
        ResidPreDelta,
    ];
    let head = [
        Site::LnFInput,
        Site::LmHeadInput,
        Site::Logits,
        Site::Loss,
        Site::LmHeadDelta,
        Site::LnFWeightGrad,
        Site::LnFBiasGrad,
    ];
    let down = (0..n_layer).flat_map(|layer| forward.map(|site| Site::Block(Layer(layer), site)));
    let up = (0..n_layer).rev().flat_map(|layer| backward.map(|site| Site::Block(Layer(layer), site)));
    down.chain(head).chain(up).collect()
}

/// A tensor's name without its layer.
pub(crate) fn kind(site: Site) -> String {
    match site {
        Site::Block(_, site) => site.suffix().to_owned(),
        other => other.to_string(),
    }
}

/// Compares what a trace holds with the oracle, one row for each kind of tensor.
pub(super) fn compare(
    trace: &dyn TraceRead,
    expected: &Expected,
    (row_suffix, case_suffix): (&str, &str),
    report: &mut Report,
) -> Result<(), RequestError> {
    let held = trace.sites();
    let sites = in_order_of_computation(trace.meta().config.n_layer);
    let sites: Vec<Site> = sites.into_iter().filter(|site| held.contains(site)).collect();
    for (site, found) in sites.iter().zip(trace.read_all(&sites)?) {
        let Some((wanted, change)) = expected.get(*site) else { continue };
        let rounding = Rounding { expected: change, at_least: 0.0 };
        let allowed = (DEVIATIONS * change).max(FLOOR);
        let finding =
            Finding::within(format!("{site}{case_suffix}"), found.as_f32(), wanted, rounding, allowed);
        report.add(Section::Trace, format!("{}{row_suffix}", kind(*site)), finding);
    }
    Ok(())
}
