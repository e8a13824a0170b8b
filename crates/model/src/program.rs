//! Everything a pass of one shape needs on the device: inputs, activations, gradients, the recording.
//!
//! A program is built once for (batch, T, loss positions, what is kept) and run as often as wanted with
//! other tokens: a run writes its inputs and allocates nothing.

use crate::ModelError;
use crate::block::{self, Ablation, Activations, Deltas, Dims, Patch, Rows, Scratch};
use crate::head::{Head, LossKind};
use crate::parameters::Parameters;
use crate::sources::{Source, sources};
use retrograd_formats::{BlockSite, Capture, Config, Head as HeadId, Interventions, Layer, Site};
use retrograd_gpu::ops::{self, VocabRange};
use retrograd_gpu::{Dtype, Gpu, Pass, Recorder, Shape, Tensor};
use std::collections::HashMap;

/// Patterns that nobody asked for are kept for the backward pass while all of them together stay
/// below this many bytes; beyond, each block computes its own again.
const KEEP_PATTERNS_BYTES: usize = 512 << 20;

/// What a program computes beside the forward pass.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// Logits of the chosen positions (and the loss).
    Forward,
    /// The same, with tensors of the forward pass kept as asked.
    Observe(Capture),
    /// Forward and backward; sites are kept as asked.
    Trace(Capture),
    /// Forward, backward and every weight gradient, into these tensors.
    WeightGradients(Box<Parameters>),
}

impl Purpose {
    fn backward(&self) -> bool {
        matches!(self, Purpose::Trace(_) | Purpose::WeightGradients(_))
    }
}

/// The shape of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    pub(crate) batch: usize,
    pub(crate) context: usize,
    pub(crate) loss: LossKind,
    pub(crate) first_position: usize,
    pub(crate) positions: usize,
}

/// A recorded pass and its tensors.
pub(crate) struct Program {
    pub(crate) form: Form,
    tokens: Tensor,
    start: Tensor,
    sorted: Option<SortedTokens>,
    pub(crate) head: Head,
    pub(crate) activations: Vec<Activations>,
    sites: HashMap<Site, Source>,
    /// ‖A‖ of every head of every layer, then ‖R‖ of every head: (2, L, H).
    pub(crate) head_norms: Option<Tensor>,
    weight_gradients: Option<Box<Parameters>>,
    pass: Pass,
}

/// Rows sorted by token, for the embedding's gradient.
struct SortedTokens {
    unique: Tensor,
    offsets: Tensor,
    order: Tensor,
}

impl Program {
    pub(crate) fn build(
        gpu: &Gpu,
        config: &Config,
        parameters: &Parameters,
        form: Form,
        purpose: &Purpose,
        interventions: &Interventions,
    ) -> Result<Program, ModelError> {
        let dims = Dims {
            batch: form.batch,
            context: form.context,
            width: config.n_embd,
            heads: config.n_head,
            inner: config.n_inner,
            epsilon: config.layer_norm_epsilon as f32,
        };
        let backward = purpose.backward();
        let mut memory = Memory::new(gpu, dims, config.n_layer, purpose);
        let activations = memory.activations(interventions)?;
        let deltas = if backward { memory.deltas()? } else { Vec::new() };
        let norm_gradient = memory.keeps_norm(Site::LnFWeightGrad, Site::LnFBiasGrad);
        let head = Head::new(
            gpu,
            parameters.head(),
            dims.width,
            form.loss,
            (form.first_position, form.positions),
            norm_gradient,
        )?;
        let tokens = gpu.allocate([dims.rows()].into(), Dtype::U32)?;
        let start = gpu.upload_u32([1], &[0])?;

        let mut recorder = Recorder::new(gpu);
        // r = wte[token] + wpe[position]
        ops::embedding(
            &mut recorder,
            ops::Embedding {
                tokens: &tokens,
                start: &start,
                context: dims.context,
                wte: &parameters.wte,
                wpe: &parameters.wpe,
                x: &activations[0].resid_pre,
            },
        )?;
        for (block, a) in parameters.blocks.iter().zip(&activations) {
            block::forward(&mut recorder, &dims, block, a)?;
        }
        let last = &activations[activations.len() - 1].resid_post;
        head.forward(&mut recorder, &parameters.ln_f, parameters.head(), dims.epsilon, last)?;

        let head_norms = memory.head_norms()?;
        let mut sorted = None;
        if backward {
            let scratch = memory.scratch()?;
            let d_last = &deltas[deltas.len() - 1].resid_post;
            head.backward(&mut recorder, &parameters.ln_f, parameters.head(), last, d_last)?;
            let recompute = !memory.patterns_kept();
            for layer in (0..config.n_layer).rev() {
                let (block, a, d) = (&parameters.blocks[layer], &activations[layer], &deltas[layer]);
                // Only the last block's δ begins at the first loss position: attention spreads it.
                let first = if layer + 1 == config.n_layer { form.first_position } else { 0 };
                let recompute_pattern = recompute && !memory.keeps(layer, BlockSite::Pattern);
                let rows = Rows { first, recompute_pattern };
                block::backward(&mut recorder, &dims, block, a, d, &scratch, rows)?;
                if let Some((norms, row_sums)) = &head_norms {
                    for (kind, maps) in [(0, &a.pattern), (1, &d.reversed)] {
                        let out_index = (kind * config.n_layer + layer) * dims.heads;
                        ops::map_norms(
                            &mut recorder,
                            ops::MapNorms { maps, row_sums, out: norms, out_index },
                        )?;
                    }
                }
                if let Purpose::WeightGradients(gradients) = purpose {
                    block::weight_gradients(&mut recorder, &gradients.blocks[layer], a, d)?;
                }
            }
            if let Purpose::WeightGradients(gradients) = purpose {
                let rows = SortedTokens::new(gpu, dims.rows())?;
                embedding_gradients(&mut recorder, &dims, gradients, &head, &rows, &deltas[0].resid_pre)?;
                sorted = Some(rows);
            }
        }
        let sites = match purpose {
            Purpose::Trace(capture) | Purpose::Observe(capture) => {
                sources(config, capture, &activations, &deltas, &head)
            }
            _ => HashMap::new(),
        };
        let weight_gradients = match purpose {
            Purpose::WeightGradients(gradients) => Some(gradients.clone()),
            _ => None,
        };
        let pass = recorder.finish()?;
        let head_norms = head_norms.map(|(norms, _)| norms);
        Ok(Program {
            form,
            tokens,
            start,
            sorted,
            head,
            activations,
            sites,
            head_norms,
            weight_gradients,
            pass,
        })
    }

    /// Writes the tokens of every sequence, one after the other.
    pub(crate) fn write_tokens(&self, gpu: &Gpu, tokens: &[u32]) -> Result<(), ModelError> {
        gpu.write_u32(&self.tokens, tokens)?;
        gpu.write_u32(&self.start, &[0])?;
        if let Some(sorted) = &self.sorted {
            sorted.write(gpu, tokens)?;
        }
        Ok(())
    }

    /// Writes the targets of the loss positions.
    pub(crate) fn write_targets(&self, gpu: &Gpu, targets: &[u32]) -> Result<(), ModelError> {
        Ok(gpu.write_u32(&self.head.targets, targets)?)
    }

    /// Writes a caller's own δ_logits, `[P, V]` row-major.
    pub(crate) fn write_delta(&self, gpu: &Gpu, vocab: usize, delta: &[f32]) -> Result<(), ModelError> {
        let mut first = 0;
        for (piece, tensor) in self.head.pieces.iter().zip(&self.head.delta) {
            let columns: Vec<f32> = delta
                .chunks_exact(vocab)
                .flat_map(|row| row[first..first + piece.count].iter().copied())
                .collect();
            gpu.write(tensor, &columns)?;
            first += piece.count;
        }
        Ok(())
    }

    /// Submits the pass.
    pub(crate) fn run(&self, gpu: &Gpu) -> Result<(), ModelError> {
        Ok(gpu.run(&self.pass)?)
    }

    /// Where the weight gradients are written, if they are.
    pub(crate) fn weight_gradients(&self) -> Option<&Parameters> {
        self.weight_gradients.as_deref()
    }

    /// The recorded pass.
    pub(crate) fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Where a site lies, if it was kept.
    pub(crate) fn source(&self, site: Site) -> Option<&Source> {
        self.sites.get(&site)
    }
}

/// ∂wte from the logits and from the lookup, ∂wpe, and ln_f's gradients.
fn embedding_gradients(
    recorder: &mut Recorder,
    dims: &Dims,
    gradients: &Parameters,
    head: &Head,
    rows: &SortedTokens,
    delta: &Tensor,
) -> Result<(), ModelError> {
    match &gradients.untied_head {
        None => head.unembedding_gradient(recorder, &gradients.wte)?,
        Some(untied) => {
            head.unembedding_gradient(recorder, untied)?;
            for range in &gradients.wte {
                recorder.clear(&range.rows);
            }
        }
    }
    for VocabRange { first, rows: d_wte } in &gradients.wte {
        ops::embedding_backward(
            recorder,
            ops::EmbeddingBackward {
                unique: &rows.unique,
                offsets: &rows.offsets,
                order: &rows.order,
                delta,
                first: *first,
                d_wte,
                accumulate: true,
            },
        )?;
    }
    ops::position_embedding_backward(
        recorder,
        ops::PositionEmbeddingBackward {
            delta,
            batch: dims.batch,
            context: dims.context,
            d_wpe: &gradients.wpe,
        },
    )?;
    if let Some(both) = &head.ln_f_grad {
        recorder.copy(both, 0, &gradients.ln_f.gamma, 0, dims.width)?;
        recorder.copy(both, dims.width, &gradients.ln_f.beta, 0, dims.width)?;
    }
    Ok(())
}

impl SortedTokens {
    fn new(gpu: &Gpu, rows: usize) -> Result<Self, ModelError> {
        let u32s = |count: usize| gpu.allocate([count].into(), Dtype::U32);
        Ok(SortedTokens { unique: u32s(rows)?, offsets: u32s(rows + 1)?, order: u32s(rows)? })
    }

    fn write(&self, gpu: &Gpu, tokens: &[u32]) -> Result<(), ModelError> {
        let rows = tokens.len();
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_by_key(|&row| (tokens[row as usize], row));
        let mut unique = vec![0; rows];
        let mut offsets = vec![rows as u32; rows + 1];
        let mut distinct = 0;
        for (at, &row) in order.iter().enumerate() {
            let token = tokens[row as usize];
            if at == 0 || token != unique[distinct - 1] {
                unique[distinct] = token;
                offsets[distinct] = at as u32;
                distinct += 1;
            }
        }
        gpu.write_u32(&self.unique, &unique)?;
        gpu.write_u32(&self.offsets, &offsets)?;
        gpu.write_u32(&self.order, &order)?;
        Ok(())
    }
}

/// Allocates a pass's tensors: one of its own for what is kept, a shared one for what is not.
struct Memory<'a> {
    gpu: &'a Gpu,
    dims: Dims,
    layers: usize,
    capture: Option<&'a Capture>,
    training: bool,
    backward: bool,
    shared: HashMap<&'static str, Tensor>,
}

impl<'a> Memory<'a> {
    fn new(gpu: &'a Gpu, dims: Dims, layers: usize, purpose: &'a Purpose) -> Self {
        let (capture, training) = match purpose {
            Purpose::Forward => (None, false),
            Purpose::Trace(capture) | Purpose::Observe(capture) => (Some(capture), false),
            Purpose::WeightGradients(_) => (None, true),
        };
        let backward = purpose.backward();
        Memory { gpu, dims, layers, capture, training, backward, shared: HashMap::new() }
    }

    /// Whether somebody asked for a site of a block.
    fn keeps(&self, layer: usize, site: BlockSite) -> bool {
        self.capture.is_some_and(|capture| capture.keeps(Site::Block(Layer(layer), site)))
    }

    /// Where the norms of every head's maps go, and scratch for them; `None` where nobody asked.
    fn head_norms(&self) -> Result<Option<(Tensor, Tensor)>, ModelError> {
        if !self.capture.is_some_and(Capture::keeps_head_norms) {
            return Ok(None);
        }
        let Dims { context, heads, .. } = self.dims;
        Ok(Some((self.own([2, self.layers, heads])?, self.own([heads, context])?)))
    }

    fn keeps_norm(&self, weight: Site, bias: Site) -> bool {
        self.training || self.capture.is_some_and(|capture| capture.keeps(weight) || capture.keeps(bias))
    }

    fn patterns_kept(&self) -> bool {
        let map = self.dims.context * self.dims.context;
        self.backward && 4 * self.dims.maps() * map * self.layers <= KEEP_PATTERNS_BYTES
    }

    fn own(&self, shape: impl Into<Shape>) -> Result<Tensor, ModelError> {
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

    fn activations(&mut self, interventions: &Interventions) -> Result<Vec<Activations>, ModelError> {
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
                || (l + 1 == self.layers && self.capture.is_some_and(|c| c.keeps(Site::LnFInput)));
            let own_mid = stream || self.keeps(l, BlockSite::ResidMid);
            let resid_post = if stream || keeps_post {
                self.own([n, d])?
            } else if l.is_multiple_of(2) {
                self.shared("post_even", [n, d])?
            } else {
                self.shared("post_odd", [n, d])?
            };
            let own_pattern = self.patterns_kept() || self.keeps(l, BlockSite::Pattern);
            let own_u = keep(self, BlockSite::CAttnInput);
            let own_o = keep(self, BlockSite::AttnProjInput);
            let own_m = keep(self, BlockSite::FcInput);
            let own_g = keep(self, BlockSite::MlpProjInput);
            let a = Activations {
                resid_pre: resid_pre.clone(),
                ln_1: self.own_if(own_u, "u", [n, d])?,
                ln_1_stats: self.own_if(stream, "ln_1_stats", [n, 2])?,
                // A forward pass alone may be a prefill, whose keys and values are kept.
                qkv: self.own([n, 3 * d])?,
                pattern: self.own_if(own_pattern, "pattern", [maps, t, t])?,
                patch: self.patch(interventions, l)?,
                attended: self.own_if(own_o, "o", [n, d])?,
                ablation: self.ablation(interventions, l)?,
                resid_mid: self.own_if(own_mid, "resid_mid", [n, d])?,
                ln_2: self.own_if(own_m, "m", [n, d])?,
                ln_2_stats: self.own_if(stream, "ln_2_stats", [n, 2])?,
                pre_activation: self.own_if(stream, "f", [n, i])?,
                activation: self.own_if(own_g, "g", [n, i])?,
                resid_post: resid_post.clone(),
            };
            blocks.push(a);
            resid_pre = resid_post;
        }
        Ok(blocks)
    }

    fn patch(&self, interventions: &Interventions, layer: usize) -> Result<Option<Patch>, ModelError> {
        let Some(patch) = &interventions.patch else { return Ok(None) };
        let Some(values) = patch.maps.get(&layer) else { return Ok(None) };
        let Dims { context: t, heads, .. } = self.dims;
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
            alpha: patch.alpha,
            patched: self.own([heads, t, t])?,
        }))
    }

    fn ablation(&self, interventions: &Interventions, layer: usize) -> Result<Option<Ablation>, ModelError> {
        let Some(keep) = keep_mask(interventions, layer, self.dims.heads) else { return Ok(None) };
        let (n, d) = (self.dims.rows(), self.dims.width);
        Ok(Some(Ablation {
            keep: self.gpu.upload_u32([self.dims.heads], &keep)?,
            attended: self.own([n, d])?,
            d_attended: self.own([n, d])?,
        }))
    }

    fn deltas(&mut self) -> Result<Vec<Deltas>, ModelError> {
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
        let mut resid_post =
            self.own_if(keep, if last.is_multiple_of(2) { "d_even" } else { "d_odd" }, [n, d])?;
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
            let block = |site| Site::Block(Layer(l), site);
            let ln_1 = self.keeps_norm(block(BlockSite::Ln1WeightGrad), block(BlockSite::Ln1BiasGrad));
            let ln_2 = self.keeps_norm(block(BlockSite::Ln2WeightGrad), block(BlockSite::Ln2BiasGrad));
            blocks.push(Deltas {
                resid_post,
                pre_activation: self.own_if(f, "d_f", [n, i])?,
                resid_mid: self.own_if(mid, "d_mid", [n, d])?,
                reversed: self.own_if(r, "reversed", [maps, t, t])?,
                qkv: self.own_if(qkv, "d_qkv", [n, 3 * d])?,
                resid_pre: resid_pre.clone(),
                ln_1: if ln_1 { Some(self.own([2, d])?) } else { None },
                ln_2: if ln_2 { Some(self.own([2, d])?) } else { None },
            });
            resid_post = resid_pre;
        }
        blocks.reverse();
        Ok(blocks)
    }

    fn scratch(&mut self) -> Result<Scratch, ModelError> {
        let Dims { context: t, width: d, .. } = self.dims;
        let (n, maps) = (self.dims.rows(), self.dims.maps());
        Ok(Scratch { d_ln: self.own([n, d])?, d_attended: self.own([n, d])?, e: self.own([maps, t, t])? })
    }
}

/// 1 for the heads of a layer that speak, 0 for the silenced; `None` when all speak.
pub(crate) fn keep_mask(interventions: &Interventions, layer: usize, heads: usize) -> Option<Vec<u32>> {
    let silenced = |head| interventions.ablate.contains(&HeadId { layer, head });
    let mask: Vec<u32> = (0..heads).map(|head| u32::from(!silenced(head))).collect();
    mask.contains(&0).then_some(mask)
}
