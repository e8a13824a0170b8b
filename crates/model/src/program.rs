//! Everything a pass of one shape needs on the device: inputs, activations, gradients, the recording.
//!
//! A program is built once for (batch, T, loss positions, what is kept) and run as often as wanted with
//! other tokens: a run writes its inputs and allocates nothing.

use crate::ModelError;
use crate::block::{self, Activations, Dims, Rows};
use crate::embedding_gradients::{SortedTokens, embedding_gradients};
use crate::form::Form;
use crate::head::Head;
use crate::memory::{Changes, Memory};
use crate::parameters::Parameters;
use crate::sources::{Source, sources};
use retrograd_formats::{BlockSite, Capture, Config, Head as HeadId, Site};
use retrograd_gpu::{Dtype, Gpu, KernelTime, Pass, Recorder, SumOrder, Tensor, ops};
use std::collections::{BTreeSet, HashMap};

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
    pub(crate) fn backward(&self) -> bool {
        matches!(self, Purpose::Trace(_) | Purpose::WeightGradients(_))
    }
}

/// Where the recording of a pass is cut into two stages that can run by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nowhere.
    None,
    /// Before a block mixes values: nothing before depends on an intervention from that block on.
    Mixing(usize),
    /// Behind the logits: nothing before depends on the objective.
    Loss,
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
    /// ‖A‖ of every head of every layer, then ‖R‖, then Σ o ⊙ ∂o: (3, L, batch·H).
    pub(crate) head_norms: Option<Tensor>,
    weight_gradients: Option<Box<Parameters>>,
    stages: Vec<Pass>,
}

impl Program {
    pub(crate) fn build<'a>(
        gpu: &Gpu,
        config: &Config,
        parameters: &Parameters,
        form: Form,
        purpose: &Purpose,
        changes: impl Into<Changes<'a>>,
        cut: Cut,
    ) -> Result<Program, ModelError> {
        let dims = Dims::of(config, form.batch, form.context);
        let backward = purpose.backward();
        let mut memory = Memory::new(gpu, dims, form, config.n_layer, purpose, cut);
        let activations = memory.activations(changes.into())?;
        let deltas = if backward { memory.deltas()? } else { Vec::new() };
        let last = &activations[activations.len() - 1].resid_post;
        // The head's rows are neighbours: they lie so, or are what the tail left, or are copied.
        let gathered = match memory.has_tail() || form.is_contiguous() {
            true => None,
            false => Some((
                memory.own([form.loss_rows(), dims.width])?,
                memory.own([form.loss_rows(), dims.width])?,
            )),
        };
        let first_row = if memory.has_tail() || gathered.is_some() { 0 } else { form.first_position };
        let norm_gradient = memory.keeps_norm(Site::LnFWeightGrad, Site::LnFBiasGrad);
        let head = Head::new(gpu, parameters.head(), dims.width, &form, first_row, norm_gradient)?;
        let tokens = gpu.allocate([dims.rows()].into(), Dtype::U32)?;
        let start = gpu.upload_u32([1], &[0])?;

        let mut stages = Vec::new();
        let order = match purpose {
            Purpose::WeightGradients(_) => SumOrder::Fastest,
            Purpose::Forward | Purpose::Observe(_) | Purpose::Trace(_) => SumOrder::Alike,
        };
        let mut recorder = Recorder::with_sum_order(gpu, order);
        let mut cut_here = |recorder: &mut Recorder, here: Cut| -> Result<(), ModelError> {
            if here == cut {
                let next = Recorder::with_sum_order(gpu, order);
                stages.push(std::mem::replace(recorder, next).finish()?);
            }
            Ok(())
        };
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
        for (layer, (block, a)) in parameters.blocks.iter().zip(&activations).enumerate() {
            block::scores(&mut recorder, &dims, block, a)?;
            cut_here(&mut recorder, Cut::Mixing(layer))?;
            block::from_scores(&mut recorder, &dims, block, a)?;
        }
        let head_input = match &gathered {
            None => last,
            Some((rows, _)) => {
                form.gather(&mut recorder, last, rows)?;
                rows
            }
        };
        head.logits(&mut recorder, &parameters.ln_f, parameters.head(), dims.epsilon, head_input)?;
        cut_here(&mut recorder, Cut::Loss)?;
        head.loss(&mut recorder)?;

        let head_norms = memory.head_norms()?;
        let mut sorted = None;
        if backward {
            let scratch = memory.scratch()?;
            let d_last = &deltas[deltas.len() - 1].resid_post;
            let d_head = gathered.as_ref().map_or(d_last, |(_, d_rows)| d_rows);
            head.backward(&mut recorder, &parameters.ln_f, parameters.head(), head_input, d_head)?;
            if let Some((_, d_rows)) = &gathered {
                form.scatter(&mut recorder, d_rows, d_last)?;
            }
            let recompute = !memory.patterns_kept();
            for layer in (0..config.n_layer).rev() {
                let (block, a, d) = (&parameters.blocks[layer], &activations[layer], &deltas[layer]);
                // Only the last block's δ begins at the first loss position: attention spreads it.
                let begins = layer + 1 == config.n_layer && form.batch == 1;
                let rows = Rows {
                    first: if begins { form.first_position } else { 0 },
                    recompute_pattern: recompute && !memory.keeps(layer, BlockSite::Pattern),
                    ends_at_reversed: layer == 0 && memory.ends_at_first_reversed(),
                };
                block::backward(&mut recorder, &dims, block, a, d, &scratch, rows)?;
                if let Some((out, row_sums)) = &head_norms {
                    let d_attended = a.ablation.as_ref().and_then(|ablation| ablation.d_attended.as_ref());
                    let maps = [&a.pattern, &d.reversed];
                    let products = [&a.attended, d_attended.unwrap_or(&scratch.d_attended)];
                    measure_heads(&mut recorder, &dims, maps, products, row_sums, out, layer)?;
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
        stages.push(recorder.finish()?);
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
            stages,
        })
    }

    /// Silences heads from the next run on: one set for each sequence. The program was built with switches.
    pub(crate) fn write_silenced(&self, gpu: &Gpu, silenced: &[BTreeSet<HeadId>]) -> Result<(), ModelError> {
        for (layer, a) in self.activations.iter().enumerate() {
            let Some(ablation) = &a.ablation else { continue };
            let heads = ablation.silenced.shape().columns();
            let mask: Vec<u32> = silenced
                .iter()
                .flat_map(|set| (0..heads).map(move |head| u32::from(set.contains(&HeadId { layer, head }))))
                .collect();
            gpu.write_u32(&ablation.silenced, &mask)?;
        }
        Ok(())
    }

    /// The factors of the attention patch from the next run on: one for each sequence.
    pub(crate) fn write_alpha(&self, gpu: &Gpu, alpha: &[f32]) -> Result<(), ModelError> {
        for patch in self.activations.iter().filter_map(|a| a.patch.as_ref()) {
            gpu.write(&patch.alpha, alpha)?;
        }
        Ok(())
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
        self.stages.iter().try_for_each(|stage| Ok(gpu.run(stage)?))
    }

    /// Submits what lies behind the cut.
    pub(crate) fn run_from_cut(&self, gpu: &Gpu) -> Result<(), ModelError> {
        self.stages.last().map_or(Ok(()), |stage| Ok(gpu.run(stage)?))
    }

    /// Where the weight gradients are written, if they are.
    pub(crate) fn weight_gradients(&self) -> Option<&Parameters> {
        self.weight_gradients.as_deref()
    }

    /// Time of each kernel, run once more with a clock; `None` where the adapter has none.
    pub(crate) fn kernel_times(&self, gpu: &Gpu) -> Result<Option<Vec<KernelTime>>, ModelError> {
        let mut times = Vec::new();
        for stage in &self.stages {
            match gpu.run_timed(stage)? {
                Some(stage) => times.extend(stage),
                None => return Ok(None),
            }
        }
        Ok(Some(times))
    }

    /// Kernel dispatches of a run.
    pub(crate) fn dispatches(&self) -> usize {
        self.stages.iter().map(Pass::dispatches).sum()
    }

    /// Where a site lies, if it was kept.
    pub(crate) fn source(&self, site: Site) -> Option<&Source> {
        self.sites.get(&site)
    }
}

/// ‖A‖, ‖R‖ and Σ o ⊙ ∂o of every head of a block, into `out` (3, L, batch·H).
fn measure_heads(
    recorder: &mut Recorder,
    dims: &Dims,
    maps: [&Tensor; 2],
    [a, b]: [&Tensor; 2],
    row_sums: &Tensor,
    out: &Tensor,
    layer: usize,
) -> Result<(), ModelError> {
    let layers = out.shape().dims()[1];
    let index = |kind| (kind * layers + layer) * dims.maps();
    for (kind, maps) in maps.into_iter().enumerate() {
        ops::map_norms(recorder, ops::MapNorms { maps, row_sums, out, out_index: index(kind) })?;
    }
    let (batch, heads, out_index) = (dims.batch, dims.heads, index(2));
    ops::head_products(recorder, ops::HeadProducts { a, b, batch, heads, out, out_index })?;
    Ok(())
}
