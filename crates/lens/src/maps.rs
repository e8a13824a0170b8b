//! Attention maps of many prompts: sizes, means and spreads by head.
//!
//! Prompts are traced in batches. Sizes (‖R‖, ‖A‖, attribution) are of each prompt by itself; maps are averaged over prompts
//! that have the same things at the same positions, and no others.

use crate::statistic::Running;
use crate::task::by_layout;
use crate::{Statistic, TaskPrompt};
use retrograd_formats::{
    BlockSite, Capture, Head, Layer, Objective, PatchMap, RequestError, Site, TraceRequest,
};
use retrograd_model::{Gpt2, ModelError};
use serde::{Deserialize, Serialize};

/// What a pass whose maps are taken goes over. The authors' demonstration and their experiments differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MapSpan {
    /// The prompt alone; the loss is −log p of the answer's first token after it.
    Prompt,
    /// Prompt and answer; the loss is the mean over the answer's tokens.
    Answer,
}

/// Rows of a batch: enough for products to be fast.
const BATCH_ROWS: usize = 1024;
/// Bytes of maps that are read at a time.
const BATCH_BYTES: usize = 128 << 20;

/// Mean maps of prompts with one layout.
#[derive(Clone, Debug)]
pub struct LayoutMaps {
    /// Tokens of every input and output in turn, as in [`TaskPrompt`].
    pub layout: Vec<usize>,
    /// T of the maps; with [`MapSpan::Answer`] the answer's tokens are among them.
    pub tokens: usize,
    /// Tokens of the prompt alone.
    pub prompt_tokens: usize,
    /// Prompts that were averaged.
    pub prompts: usize,
    /// A, by layer.
    pub pattern: Vec<MeanMaps>,
    /// R, by layer.
    pub reversed: Vec<MeanMaps>,
}

/// Mean and standard deviation over prompts of one layer's maps, `[H, T, T]` row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanMaps {
    /// The mean.
    pub mean: Vec<f32>,
    /// The standard deviation.
    pub std: Vec<f32>,
}

impl LayoutMaps {
    /// The mean maps of a layer.
    pub fn mean(&self, map: PatchMap, layer: usize) -> &[f32] {
        match map {
            PatchMap::Reversed => &self.reversed[layer].mean,
            PatchMap::Forward => &self.pattern[layer].mean,
        }
    }

    /// The mean maps of a layer over the first `tokens` positions, `[H, tokens, tokens]`.
    pub fn cropped(&self, map: PatchMap, layer: usize, tokens: usize) -> Vec<f32> {
        let tokens = tokens.min(self.tokens);
        self.mean(map, layer)
            .chunks_exact(self.tokens)
            .enumerate()
            .filter(|(row, _)| row % self.tokens < tokens)
            .flat_map(|(_, row)| row[..tokens].iter().copied())
            .collect()
    }
}

/// The sizes of a head over the prompts of a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadStatistics {
    /// The block.
    pub layer: usize,
    /// The head within the block.
    pub head: usize,
    /// ‖R‖.
    pub reversed_norm: Statistic,
    /// ‖A‖.
    pub pattern_norm: Statistic,
    /// Σ A ⊙ ∂L/∂A.
    pub attribution: Statistic,
}

impl HeadStatistics {
    /// The head.
    pub fn id(&self) -> Head {
        Head { layer: self.layer, head: self.head }
    }
}

/// Maps and sizes over the prompts of a task.
#[derive(Clone, Debug)]
pub struct TaskMaps {
    /// What the passes went over.
    pub span: MapSpan,
    /// Prompts.
    pub prompts: usize,
    /// The loss.
    pub loss: Statistic,
    /// In the order of the model.
    pub heads: Vec<HeadStatistics>,
    /// Mean maps, the layout with the most prompts first; none where [`task_sizes`] left them out.
    pub layouts: Vec<LayoutMaps>,
}

/// Traces every prompt; `progress` hears how many are done.
///
/// # Errors
/// When there are no prompts, or one with its answer does not fit the model.
pub fn task_maps(
    model: &Gpt2,
    prompts: &[TaskPrompt],
    span: MapSpan,
    progress: &mut dyn FnMut(usize),
) -> Result<TaskMaps, ModelError> {
    collect(model, prompts, span, true, progress)
}

/// The same without the maps, which then are neither kept nor read.
///
/// # Errors
/// As [`task_maps`].
pub fn task_sizes(
    model: &Gpt2,
    prompts: &[TaskPrompt],
    span: MapSpan,
    progress: &mut dyn FnMut(usize),
) -> Result<TaskMaps, ModelError> {
    collect(model, prompts, span, false, progress)
}

fn collect(
    model: &Gpt2,
    prompts: &[TaskPrompt],
    span: MapSpan,
    with_maps: bool,
    progress: &mut dyn FnMut(usize),
) -> Result<TaskMaps, ModelError> {
    if prompts.is_empty() {
        return Err(RequestError::invalid("task", "there are no prompts").into());
    }
    let config = model.config();
    let (layers, heads) = (config.n_layer, config.n_head);
    let mut sizes: Vec<[Vec<f64>; 3]> = vec![Default::default(); layers * heads];
    let (mut losses, mut layouts, mut done) = (Vec::new(), Vec::new(), 0);
    for group in by_layout(prompts) {
        // Answers of different lengths have their loss at different positions.
        let mut lengths: Vec<usize> = group.iter().map(|at| answer_tokens(&prompts[*at], span)).collect();
        lengths.sort_unstable();
        lengths.dedup();
        for length in lengths {
            let members: Vec<&TaskPrompt> =
                group.iter().map(|at| &prompts[*at]).filter(|p| answer_tokens(p, span) == length).collect();
            let mut maps = LayoutRun::new(members[0], length, with_maps, layers, heads);
            let rows = members[0].ids.len() + length;
            let bytes = 8 * layers * heads * rows * rows;
            let batch = (BATCH_ROWS / rows).min(BATCH_BYTES / bytes.max(1)).clamp(1, members.len());
            for chunk in members.chunks(batch) {
                maps.trace(model, chunk, span, &mut sizes, &mut losses)?;
                done += chunk.len();
                progress(done);
            }
            layouts.extend(maps.finish());
        }
    }
    layouts.sort_by_key(|maps: &LayoutMaps| std::cmp::Reverse(maps.prompts));
    let head = |(at, [reversed, pattern, attribution]): (usize, &[Vec<f64>; 3])| HeadStatistics {
        layer: at / heads,
        head: at % heads,
        reversed_norm: Statistic::of(reversed),
        pattern_norm: Statistic::of(pattern),
        attribution: Statistic::of(attribution),
    };
    Ok(TaskMaps {
        span,
        prompts: prompts.len(),
        loss: Statistic::of(&losses),
        heads: sizes.iter().enumerate().map(head).collect(),
        layouts,
    })
}

/// Tokens of the answer that the pass goes over.
fn answer_tokens(prompt: &TaskPrompt, span: MapSpan) -> usize {
    match span {
        MapSpan::Prompt => 0,
        MapSpan::Answer => prompt.answer.len(),
    }
}

/// The maps of one layout while they are summed.
struct LayoutRun {
    layout: Vec<usize>,
    tokens: usize,
    prompt_tokens: usize,
    prompts: usize,
    /// Sites in pairs of A and R, by layer.
    sites: Vec<Site>,
    maps: Vec<Running>,
}

impl LayoutRun {
    fn new(first: &TaskPrompt, answer: usize, with_maps: bool, layers: usize, heads: usize) -> Self {
        let both = [BlockSite::Pattern, BlockSite::Reversed];
        let all = (0..layers).flat_map(|layer| both.map(|site| Site::Block(Layer(layer), site)));
        let sites: Vec<Site> = if with_maps { all.collect() } else { Vec::new() };
        let tokens = first.ids.len() + answer;
        let maps = vec![Running::new(heads * tokens * tokens); sites.len()];
        LayoutRun {
            layout: first.layout.clone(),
            tokens,
            prompt_tokens: first.ids.len(),
            prompts: 0,
            sites,
            maps,
        }
    }

    fn trace(
        &mut self,
        model: &Gpt2,
        chunk: &[&TaskPrompt],
        span: MapSpan,
        sizes: &mut [[Vec<f64>; 3]],
        losses: &mut Vec<f64>,
    ) -> Result<(), ModelError> {
        let capture = Capture::only(self.sites.iter().copied()).head_norms();
        let requests: Vec<TraceRequest> = chunk
            .iter()
            .map(|prompt| {
                let request = match span {
                    MapSpan::Prompt => {
                        TraceRequest::new(prompt.ids.clone(), Objective::Target(prompt.target()))
                    }
                    MapSpan::Answer => {
                        let ids = [prompt.ids.as_slice(), &prompt.answer].concat();
                        TraceRequest::new(ids, Objective::Completion { start: prompt.ids.len() })
                    }
                };
                request.capture(capture.clone())
            })
            .collect();
        let batch = model.trace_batch(&requests)?;
        losses.extend(batch.losses()?.into_iter().map(f64::from));
        for norms in batch.head_norms()? {
            let all = [&norms.reversed, &norms.pattern, &norms.attribution].map(|by_layer| by_layer.concat());
            for (at, of_head) in sizes.iter_mut().enumerate() {
                for (values, kind) in of_head.iter_mut().zip(&all) {
                    values.push(kind[at]);
                }
            }
        }
        // A layer at a time: all layers of a batch may not fit the host.
        for (sites, maps) in self.sites.chunks(2).zip(self.maps.chunks_mut(2)) {
            for (tensor, running) in batch.read_all(sites)?.iter().zip(maps) {
                let values = tensor.as_f32();
                values.chunks_exact(values.len() / chunk.len()).for_each(|map| running.add(map));
            }
        }
        self.prompts += chunk.len();
        Ok(())
    }

    fn finish(self) -> Option<LayoutMaps> {
        let mean = |running: &Running| MeanMaps { mean: running.mean(), std: running.std() };
        let (pattern, reversed) =
            self.maps.chunks_exact(2).map(|both| (mean(&both[0]), mean(&both[1]))).unzip();
        (!self.sites.is_empty()).then_some(LayoutMaps {
            layout: self.layout,
            tokens: self.tokens,
            prompt_tokens: self.prompt_tokens,
            prompts: self.prompts,
            pattern,
            reversed,
        })
    }
}
