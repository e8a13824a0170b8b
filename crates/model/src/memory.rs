//! A pass's tensors: one of its own for what is kept, a shared one for what is not.

use crate::ModelError;
use crate::block::{Ablation, Activations, Deltas, Dims, Patch, Scratch, Tail, TailDeltas};
use crate::form::Form;
use crate::program::{Cut, Purpose};
use retrograd_formats::{BlockSite, Capture, Head as HeadId, Interventions, Layer, Site};
use retrograd_gpu::{Gpu, Shape, Tensor};
use std::collections::HashMap;

/// Patterns that nobody asked for are kept for the backward pass while all of them together stay
/// below this many bytes; beyond, each block computes its own again.
const KEEP_PATTERNS_BYTES: usize = 512 << 20;

/// What is changed in the forward pass, and what can be changed from run to run.
#[derive(Clone, Copy)]
pub(crate) struct Changes<'a> {
    /// As of the first run, the same in every sequence.
    pub(crate) interventions: &'a Interventions,
    /// Whether every head of every layer can be silenced later, in each sequence by itself.
    pub(crate) switches: bool,
}

impl<'a> From<&'a Interventions> for Changes<'a> {
    fn from(interventions: &'a Interventions) -> Self {
        Changes { interventions, switches: false }
    }
}

/// The last block's sites of which a tail has P rows.
const TAIL_SITES: [BlockSite; 11] = [
    BlockSite::AttnProjDelta,
    BlockSite::FcInput,
    BlockSite::FcDelta,
    BlockSite::MlpProjInput,
    BlockSite::MlpProjDelta,
    BlockSite::ResidMid,
    BlockSite::ResidMidDelta,
    BlockSite::ResidPost,
    BlockSite::ResidPostDelta,
    BlockSite::Ln2WeightGrad,
    BlockSite::Ln2BiasGrad,
];

/// Allocates a pass's tensors.
pub(crate) struct Memory<'a> {
    gpu: &'a Gpu,
    dims: Dims,
    form: Form,
    layers: usize,
    capture: Option<&'a Capture>,
    training: bool,
    backward: bool,
    /// Whether keys and values of every layer outlive the pass: those of a prefill do.
    prefill: bool,
    cut: Cut,
    shared: HashMap<&'static str, Tensor>,
}

impl<'a> Memory<'a> {
    pub(crate) fn new(
        gpu: &'a Gpu,
        dims: Dims,
        form: Form,
        layers: usize,
        purpose: &'a Purpose,
        cut: Cut,
    ) -> Self {
        let (capture, training) = match purpose {
            Purpose::Forward => (None, false),
            Purpose::Trace(capture) | Purpose::Observe(capture) => (Some(capture), false),
            Purpose::WeightGradients(_) => (None, true),
        };
        let backward = purpose.backward();
        let prefill = matches!(purpose, Purpose::Forward);
        let shared = HashMap::new();
        Memory { gpu, dims, form, layers, capture, training, backward, prefill, cut, shared }
    }

    /// Whether the last block goes on with the rows that carry loss alone.
    pub(crate) fn has_tail(&self) -> bool {
        let last = self.layers - 1;
        self.form.positions < self.form.context
            && !self.training
            && !TAIL_SITES.into_iter().any(|site| self.keeps(last, site))
            && !self.capture.is_some_and(|capture| capture.keeps(Site::LnFInput))
    }

    /// Whether nobody wants what the backward pass computes behind the R of the first block.
    pub(crate) fn ends_at_first_reversed(&self) -> bool {
        use BlockSite::{CAttnDelta, Ln1BiasGrad, Ln1WeightGrad, ResidPreDelta};
        !self.training
            && ![CAttnDelta, ResidPreDelta, Ln1WeightGrad, Ln1BiasGrad]
                .into_iter()
                .any(|site| self.keeps(0, site))
    }

    /// Rows of the residual stream behind the mixing of a block.
    fn rows_after_mixing(&self, layer: usize) -> usize {
        if layer + 1 == self.layers && self.has_tail() { self.form.loss_rows() } else { self.dims.rows() }
    }

    /// Whether somebody asked for a site of a block.
    pub(crate) fn keeps(&self, layer: usize, site: BlockSite) -> bool {
        self.capture.is_some_and(|capture| capture.keeps(Site::Block(Layer(layer), site)))
    }

    fn keeps_head_norms(&self) -> bool {
        self.capture.is_some_and(Capture::keeps_head_norms)
    }

    /// Where the norms of every head's maps and its Σ o ⊙ ∂o go, and scratch for them; `None` where nobody asked.
    pub(crate) fn head_norms(&self) -> Result<Option<(Tensor, Tensor)>, ModelError> {
        if !self.keeps_head_norms() {
            return Ok(None);
        }
        let maps = self.dims.maps();
        Ok(Some((self.own([3, self.layers, maps])?, self.own([maps, self.dims.context])?)))
    }

    pub(crate) fn keeps_norm(&self, weight: Site, bias: Site) -> bool {
        self.training || self.capture.is_some_and(|capture| capture.keeps(weight) || capture.keeps(bias))
    }

    pub(crate) fn patterns_kept(&self) -> bool {
        let map = self.dims.context * self.dims.context;
        self.backward && 4 * self.dims.maps() * map * self.layers <= KEEP_PATTERNS_BYTES
    }

    pub(crate) fn own(&self, shape: impl Into<Shape>) -> Result<Tensor, ModelError> {
        Ok(self.gpu.tensor(shape)?)
    }

    fn shared(&mut self, name: &'static str, shape: impl Into<Shape>) -> Result<Tensor, ModelError> {
        if let Some(tensor) = self.shared.get(name) {
            return Ok(tensor.clone());
        }
        let tensor = self.gpu.tensor(shape)?;
        self.shared.insert(name, tensor.clone());
        Ok(tensor)
    }

    fn own_if(
        &mut self,
        own: bool,
        name: &'static str,
        shape: impl Into<Shape>,
    ) -> Result<Tensor, ModelError> {
        if own { self.own(shape) } else { self.shared(name, shape) }
    }

    pub(crate) fn activations(&mut self, changes: Changes<'_>) -> Result<Vec<Activations>, ModelError> {
        let Dims { context: t, width: d, inner: i, .. } = self.dims;
        let (n, maps) = (self.dims.rows(), self.dims.maps());
        // The residual stream, f, qkv and the norms' statistics are what the backward pass needs; a
        // forward pass alone shares them too, the stream alternating between two buffers.
        let stream = self.backward;
        let mut resid_pre = self.own([n, d])?;
        let mut blocks = Vec::with_capacity(self.layers);
        for l in 0..self.layers {
            let training = self.training;
            let keep = |memory: &Self, site| training || memory.keeps(l, site);
            let keeps_post = self.keeps(l, BlockSite::ResidPost)
                || (l + 1 < self.layers && self.keeps(l + 1, BlockSite::ResidPre))
                || (l + 1 == self.layers && self.capture.is_some_and(|c| c.keeps(Site::LnFInput)))
                || self.cut == Cut::Mixing(l + 1);
            let own_mid = stream || self.keeps(l, BlockSite::ResidMid);
            // P rows where the block has a tail.
            let p = self.rows_after_mixing(l);
            let tail = match p < n {
                true => {
                    let (form, attended, resid_pre) = (self.form, self.own([p, d])?, self.own([p, d])?);
                    Some(Tail { form, attended, resid_pre })
                }
                false => None,
            };
            let resid_post = if stream || keeps_post || tail.is_some() {
                self.own([p, d])?
            } else if l.is_multiple_of(2) {
                self.shared("post_even", [n, d])?
            } else {
                self.shared("post_odd", [n, d])?
            };
            // What the second stage begins with must outlive its last run.
            let cut = self.cut == Cut::Mixing(l);
            let own_pattern = cut || self.patterns_kept() || self.keeps(l, BlockSite::Pattern);
            let own_qkv = cut || stream || self.prefill;
            let own_u = keep(self, BlockSite::CAttnInput);
            let own_o = keep(self, BlockSite::AttnProjInput) || self.keeps_head_norms();
            let own_m = keep(self, BlockSite::FcInput);
            let own_g = keep(self, BlockSite::MlpProjInput);
            let a = Activations {
                resid_pre: resid_pre.clone(),
                ln_1: self.own_if(own_u, "u", [n, d])?,
                ln_1_stats: self.own_if(stream, "ln_1_stats", [n, 2])?,
                qkv: self.own_if(own_qkv, "qkv", [n, 3 * d])?,
                pattern: self.own_if(own_pattern, "pattern", [maps, t, t])?,
                patch: self.patch(changes.interventions, l)?,
                attended: self.own_if(own_o, "o", [n, d])?,
                ablation: self.ablation(changes, l)?,
                resid_mid: self.own_if(own_mid || tail.is_some(), "resid_mid", [p, d])?,
                ln_2: self.own_if(own_m || tail.is_some(), "m", [p, d])?,
                ln_2_stats: self.own_if(stream || tail.is_some(), "ln_2_stats", [p, 2])?,
                pre_activation: self.own_if(stream || tail.is_some(), "f", [p, i])?,
                activation: self.own_if(own_g || tail.is_some(), "g", [p, i])?,
                resid_post: resid_post.clone(),
                tail,
            };
            blocks.push(a);
            resid_pre = resid_post;
        }
        Ok(blocks)
    }

    fn patch(&self, interventions: &Interventions, layer: usize) -> Result<Option<Patch>, ModelError> {
        let Some(patch) = &interventions.patch else { return Ok(None) };
        let Some(values) = patch.maps.get(&layer) else { return Ok(None) };
        let Dims { batch, context: t, heads, .. } = self.dims;
        let chosen = |head| patch.heads.as_ref().is_none_or(|heads| heads.contains(&HeadId { layer, head }));
        let mut values = values.clone();
        for (head, map) in values.chunks_exact_mut(t * t).enumerate() {
            if !chosen(head) {
                map.fill(0.0);
            }
            // Attention is causal whatever the map says.
            for (row, columns) in map.chunks_exact_mut(t).enumerate() {
                columns[row + 1..].fill(0.0);
            }
        }
        Ok(Some(Patch {
            map: self.gpu.upload([heads, t, t], &values)?,
            alpha: self.gpu.upload([batch], &vec![patch.alpha; batch])?,
            patched: self.own([batch * heads, t, t])?,
        }))
    }

    fn ablation(&self, changes: Changes<'_>, layer: usize) -> Result<Option<Ablation>, ModelError> {
        let Dims { batch, width, heads, .. } = self.dims;
        let silenced = match silenced_heads(changes.interventions, layer, heads) {
            Some(silenced) => silenced,
            None if changes.switches => vec![0; heads],
            None => return Ok(None),
        };
        let n = self.dims.rows();
        Ok(Some(Ablation {
            silenced: self.gpu.upload_u32([batch, heads], &silenced.repeat(batch))?,
            attended: self.own([n, width])?,
            d_attended: if self.backward { Some(self.own([n, width])?) } else { None },
        }))
    }

    pub(crate) fn deltas(&mut self) -> Result<Vec<Deltas>, ModelError> {
        let Dims { context: t, width: d, inner: i, .. } = self.dims;
        let (n, maps) = (self.dims.rows(), self.dims.maps());
        let keeps_stream = |memory: &Self, l: usize| {
            // One tensor is the δ behind block l and the δ before block l + 1.
            memory.keeps(l, BlockSite::ResidPostDelta)
                || memory.keeps(l, BlockSite::MlpProjDelta)
                || (l + 1 < memory.layers && memory.keeps(l + 1, BlockSite::ResidPreDelta))
        };
        let last = self.layers - 1;
        let keep = keeps_stream(self, last);
        // Odd and even layers alternate between two buffers where nobody keeps them.
        let p = self.rows_after_mixing(last);
        let mut resid_post =
            self.own_if(keep || p < n, if last.is_multiple_of(2) { "d_even" } else { "d_odd" }, [p, d])?;
        let mut blocks = Vec::with_capacity(self.layers);
        for l in (0..self.layers).rev() {
            let resid_pre = if l == 0 {
                let keep = self.keeps(0, BlockSite::ResidPreDelta);
                self.own_if(keep, "d_odd", [n, d])?
            } else {
                let keep = keeps_stream(self, l - 1);
                self.own_if(keep, if (l - 1).is_multiple_of(2) { "d_even" } else { "d_odd" }, [n, d])?
            };
            let mid = self.keeps(l, BlockSite::ResidMidDelta) || self.keeps(l, BlockSite::AttnProjDelta);
            let (f, r, qkv) = (
                self.keeps(l, BlockSite::FcDelta),
                self.keeps(l, BlockSite::Reversed),
                self.keeps(l, BlockSite::CAttnDelta),
            );
            let p = self.rows_after_mixing(l);
            let tail = match p < n {
                true => Some(TailDeltas { d_attended: self.own([p, d])?, resid_mid: self.own([n, d])? }),
                false => None,
            };
            let block = |site| Site::Block(Layer(l), site);
            let ln_1 = self.keeps_norm(block(BlockSite::Ln1WeightGrad), block(BlockSite::Ln1BiasGrad));
            let ln_2 = self.keeps_norm(block(BlockSite::Ln2WeightGrad), block(BlockSite::Ln2BiasGrad));
            blocks.push(Deltas {
                resid_post,
                pre_activation: self.own_if(f || tail.is_some(), "d_f", [p, i])?,
                resid_mid: self.own_if(mid || tail.is_some(), "d_mid", [p, d])?,
                reversed: self.own_if(r, "reversed", [maps, t, t])?,
                qkv: self.own_if(qkv, "d_qkv", [n, 3 * d])?,
                resid_pre: resid_pre.clone(),
                ln_1: if ln_1 { Some(self.own([2, d])?) } else { None },
                ln_2: if ln_2 { Some(self.own([2, d])?) } else { None },
                tail,
            });
            resid_post = resid_pre;
        }
        blocks.reverse();
        Ok(blocks)
    }

    pub(crate) fn scratch(&mut self) -> Result<Scratch, ModelError> {
        let Dims { context: t, width: d, .. } = self.dims;
        let (n, maps) = (self.dims.rows(), self.dims.maps());
        Ok(Scratch { d_ln: self.own([n, d])?, d_attended: self.own([n, d])?, e: self.own([maps, t, t])? })
    }
}

/// 1 for the silenced heads of a layer, 0 for those that speak; `None` when all speak.
fn silenced_heads(interventions: &Interventions, layer: usize, heads: usize) -> Option<Vec<u32>> {
    let silenced = |head| u32::from(interventions.ablate.contains(&HeadId { layer, head }));
    let mask: Vec<u32> = (0..heads).map(silenced).collect();
    mask.contains(&1).then_some(mask)
}

/// 1 for the heads of a layer that speak, 0 for the silenced; `None` when all speak.
pub(crate) fn keep_mask(interventions: &Interventions, layer: usize, heads: usize) -> Option<Vec<u32>> {
    let silenced = silenced_heads(interventions, layer, heads)?;
    Some(silenced.into_iter().map(|silenced| 1 - silenced).collect())
}
