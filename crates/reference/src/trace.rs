//! A finished trace: the tensors of a pass under their names.

use crate::model::Pass;
use retrograd_formats::{
    BlockSite, Capture, HeadNorms, HostTensor, Layer, RequestError, Site, TraceMeta, TraceRead,
};
use std::collections::BTreeMap;

/// A trace in f64. [`TraceRead`] gives the same tensors rounded to f32.
#[derive(Clone, Debug)]
pub struct ReferenceTrace {
    meta: TraceMeta,
    tensors: BTreeMap<Site, Vec<f64>>,
    head_norms: Option<HeadNorms>,
}

impl ReferenceTrace {
    /// Keeps of `pass` what `capture` asks for.
    pub(crate) fn new(meta: TraceMeta, pass: Pass, capture: &Capture) -> Self {
        let sites = Site::all(meta.config.n_layer).into_iter().filter(|site| capture.keeps(*site));
        let tensors = sites.map(|site| (site, tensor(site, &meta, &pass))).collect();
        let head_norms = capture.keeps_head_norms().then(|| head_norms(&meta, &pass));
        ReferenceTrace { meta, tensors, head_norms }
    }

    /// The values of a captured site, row-major, with the shape of [`Site::shape`]; token ids are
    /// given as numbers.
    pub fn get(&self, site: Site) -> Option<&[f64]> {
        self.tensors.get(&site).map(Vec::as_slice)
    }

    /// Records the text that the tokens came from.
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.meta.prompt = Some(prompt.into());
        self
    }
}

/// ‖A‖ and ‖R‖ of every head.
fn head_norms(meta: &TraceMeta, pass: &Pass) -> HeadNorms {
    let norms = |site| {
        (0..meta.config.n_layer)
            .map(|layer| {
                let maps = block_tensor(site, layer, pass);
                let map = maps.len() / meta.config.n_head;
                maps.chunks_exact(map).map(|map| map.iter().map(|x| x * x).sum::<f64>().sqrt()).collect()
            })
            .collect()
    };
    HeadNorms {
        pattern: norms(BlockSite::Pattern),
        reversed: norms(BlockSite::Reversed),
        attribution: (0..meta.config.n_layer).map(|layer| attribution(meta, pass, layer)).collect(),
    }
}

/// Σ A ⊙ ∂L/∂A = Σ o ⊙ ∂L/∂o of every head of a layer.
fn attribution(meta: &TraceMeta, pass: &Pass, layer: usize) -> Vec<f64> {
    let (d, h) = (meta.config.n_embd, meta.config.n_head);
    let (o, d_o) = (&pass.forward[layer].attention.out, &pass.backward[layer].d_o); // (T, D)
    let mut sums = vec![0.0; h];
    for (at, (o, d_o)) in o.iter().zip(d_o).enumerate() {
        sums[at % d / (d / h)] += o * d_o;
    }
    sums
}

/// Where each site is found in a pass.
fn tensor(site: Site, meta: &TraceMeta, pass: &Pass) -> Vec<f64> {
    let head = &pass.head;
    match site {
        Site::Tokens => meta.ids.iter().map(|id| f64::from(id.0)).collect(),
        Site::Loss => vec![head.loss],
        Site::Logits => head.logits.clone(),
        Site::Block(Layer(layer), site) => block_tensor(site, layer, pass).to_vec(),
        Site::LnFInput => block_tensor(BlockSite::ResidPost, meta.config.n_layer - 1, pass).to_vec(),
        Site::LnFWeightGrad => head.ln_f.dgamma.clone(),
        Site::LnFBiasGrad => head.ln_f.dbeta.clone(),
        Site::LmHeadInput => head.y.y.clone(),
        Site::LmHeadDelta => head.delta_logits.clone(),
    }
}

/// Where each site of a block is found; the letters are those of `block.rs`.
fn block_tensor(site: BlockSite, layer: usize, pass: &Pass) -> &[f64] {
    let (forward, backward) = (&pass.forward[layer], &pass.backward[layer]);
    match site {
        BlockSite::Pattern => &forward.attention.pattern,    // A
        BlockSite::Reversed => &backward.attention.reversed, // R
        BlockSite::CAttnInput => &forward.u.y,               // u
        BlockSite::CAttnDelta => &backward.attention.d_qkv,  // [∂q ∂k ∂v]
        BlockSite::AttnProjInput => &forward.attention.out,  // concat(o)
        BlockSite::AttnProjDelta => &backward.delta_mid,     // δ′
        BlockSite::FcInput => &forward.m.y,                  // m
        BlockSite::FcDelta => &backward.d_f,                 // ∂f
        BlockSite::MlpProjInput => &forward.g,               // g
        BlockSite::MlpProjDelta => &backward.delta,          // δ
        BlockSite::ResidPre => &forward.r,                   // r
        BlockSite::ResidMid => &forward.r_mid,               // r′
        BlockSite::ResidPost => &forward.r_post,             // r″
        BlockSite::ResidPreDelta => &backward.delta_next,    // δ_next
        BlockSite::ResidMidDelta => &backward.delta_mid,     // δ′
        BlockSite::ResidPostDelta => &backward.delta,        // δ
        BlockSite::Ln1WeightGrad => &backward.ln_1.dgamma,
        BlockSite::Ln1BiasGrad => &backward.ln_1.dbeta,
        BlockSite::Ln2WeightGrad => &backward.ln_2.dgamma,
        BlockSite::Ln2BiasGrad => &backward.ln_2.dbeta,
    }
}

impl TraceRead for ReferenceTrace {
    fn meta(&self) -> &TraceMeta {
        &self.meta
    }

    fn sites(&self) -> Vec<Site> {
        let all = Site::all(self.meta.config.n_layer);
        all.into_iter().filter(|site| self.tensors.contains_key(site)).collect()
    }

    fn head_norms(&self) -> Result<Option<HeadNorms>, RequestError> {
        Ok(self.head_norms.clone())
    }

    fn read_all(&self, sites: &[Site]) -> Result<Vec<HostTensor>, RequestError> {
        sites.iter().map(|&site| self.rounded(site)).collect()
    }
}

impl ReferenceTrace {
    /// A captured tensor in f32 (token ids in u32).
    fn rounded(&self, site: Site) -> Result<HostTensor, RequestError> {
        let meta = &self.meta;
        let shape = site.shape(&meta.config, meta.ids.len(), meta.objective.count);
        if !self.tensors.contains_key(&site) {
            return Err(RequestError::invalid(
                site.to_string(),
                "is not in this trace; trace again with its site and layer captured (--sites, --layers)",
            ));
        }
        if site == Site::Tokens {
            return Ok(HostTensor::u32(shape, meta.ids.iter().map(|id| id.0).collect()));
        }
        Ok(HostTensor::f32(shape, self.tensors[&site].iter().map(|&x| x as f32).collect()))
    }
}
