//! Where the tensors of a pass lie on the device, by the name they have in a trace.

use crate::block::{Activations, Deltas};
use crate::head::Head;
use retrograd_formats::{BlockSite, Capture, Config, Layer, Site};
use retrograd_gpu::Tensor;
use std::collections::HashMap;

/// Where a site lies on the device.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A whole tensor.
    Whole(Tensor),
    /// One row of a `[2, D]` tensor.
    Row(Tensor, usize),
    /// Column blocks of a matrix.
    Columns(Vec<Tensor>),
}

/// Maps every kept site to its tensor.
pub(crate) fn sources(
    config: &Config,
    capture: &Capture,
    activations: &[Activations],
    deltas: &[Deltas],
    head: &Head,
) -> HashMap<Site, Source> {
    let whole = |tensor: &Tensor| Some(Source::Whole(tensor.clone()));
    let row = |tensor: &Option<Tensor>, row| tensor.as_ref().map(|t| Source::Row(t.clone(), row));
    let source = |site: Site| match site {
        Site::Tokens => None,
        Site::Loss => whole(&head.loss),
        Site::Logits => Some(Source::Columns(head.logits.clone())),
        Site::LmHeadDelta => Some(Source::Columns(head.delta.clone())),
        Site::LmHeadInput => whole(&head.normed),
        Site::LnFInput => activations.last().and_then(|a| whole(&a.resid_post)),
        Site::LnFWeightGrad => row(&head.ln_f_grad, 0),
        Site::LnFBiasGrad => row(&head.ln_f_grad, 1),
        Site::Block(Layer(l), site) => {
            let a = &activations[l];
            // A forward pass alone has none.
            let Some(d) = deltas.get(l) else { return forward_source(a, site) };
            match site {
                BlockSite::Reversed => whole(&d.reversed),
                BlockSite::CAttnDelta => whole(&d.qkv),
                BlockSite::AttnProjDelta | BlockSite::ResidMidDelta => whole(&d.resid_mid),
                BlockSite::FcDelta => whole(&d.pre_activation),
                BlockSite::MlpProjDelta | BlockSite::ResidPostDelta => whole(&d.resid_post),
                BlockSite::ResidPreDelta => whole(&d.resid_pre),
                BlockSite::Ln1WeightGrad => row(&d.ln_1, 0),
                BlockSite::Ln1BiasGrad => row(&d.ln_1, 1),
                BlockSite::Ln2WeightGrad => row(&d.ln_2, 0),
                BlockSite::Ln2BiasGrad => row(&d.ln_2, 1),
                forward => forward_source(a, forward),
            }
        }
    };
    Site::all(config.n_layer)
        .into_iter()
        .filter(|site| capture.keeps(*site))
        .filter_map(|site| Some((site, source(site)?)))
        .collect()
}

/// Where a site of the forward pass of a block lies.
fn forward_source(a: &Activations, site: BlockSite) -> Option<Source> {
    let tensor = match site {
        BlockSite::Pattern => &a.pattern,
        BlockSite::CAttnInput => &a.ln_1,
        BlockSite::AttnProjInput => &a.attended,
        BlockSite::FcInput => &a.ln_2,
        BlockSite::MlpProjInput => &a.activation,
        BlockSite::ResidPre => &a.resid_pre,
        BlockSite::ResidMid => &a.resid_mid,
        BlockSite::ResidPost => &a.resid_post,
        _ => return None,
    };
    Some(Source::Whole(tensor.clone()))
}
