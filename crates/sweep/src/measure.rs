//! Rows of one length through the device together.

use crate::columns::Columns;
use crate::error::SweepError;
use crate::result::{LensReading, Measured, Rejected, assemble};
use crate::work::WorkColumns;
use arrow_array::RecordBatch;
use retrograd_formats::{
    BlockSite, Capture, HostTensor, Layer, ProjectionRequest, ResolvedObjective, Site, TokenId, TraceRequest,
};
use retrograd_model::{BatchTrace, Gpt2};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tokens of a batch: products of so many rows keep a device busy, and more of them only take memory.
const BATCH_TOKENS: usize = 2048;
/// Logits of a batch, 64 MiB.
const BATCH_LOGITS: usize = 1 << 24;
/// Vectors that are read in the vocabulary at once.
const LENS_VECTORS: usize = 512;

/// A model, and what is measured with it.
pub struct Measurer {
    model: Gpt2,
    columns: Columns,
    capture: Capture,
    sites: Vec<Site>,
    one_by_one: bool,
}

impl Measurer {
    /// Measures with this model.
    pub fn new(model: Gpt2, columns: Columns) -> Self {
        let layers = model.config().n_layer;
        let of = |site: BlockSite| (0..layers).map(move |layer| Site::Block(Layer(layer), site));
        let deltas = of(BlockSite::AttnProjDelta).chain(of(BlockSite::MlpProjDelta));
        let lens = columns.lens.0.iter().flat_map(|site| of(*site));
        let sites: Vec<Site> = std::iter::once(Site::Logits).chain(deltas).chain(lens).collect();
        let capture = Capture::only(sites.iter().copied()).head_norms();
        Measurer { model, columns, capture, sites, one_by_one: false }
    }

    /// One prompt at a time, to see what batches are worth.
    pub fn one_by_one(self, one_by_one: bool) -> Self {
        Measurer { one_by_one, ..self }
    }

    /// The model.
    pub fn model(&self) -> &Gpt2 {
        &self.model
    }

    /// The names of the columns.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Measures the rows of a batch whose first is row `first_row` of its table. The result has the rows that could be
    /// traced, in their order, and beside it stand those that could not. `known` are rows that are already known to be
    /// wrong; `progress` is told how many more rows are dealt with.
    ///
    /// # Errors
    /// When the columns are not what is expected, and when the device fails.
    pub fn measure(
        &self,
        batch: &RecordBatch,
        first_row: u64,
        known: &BTreeMap<usize, String>,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Option<(RecordBatch, Vec<Rejected>)>, SweepError> {
        self.columns.check(&batch.schema())?;
        let work = WorkColumns::of(batch, &self.columns)?;
        let mut rejected = Vec::new();
        let mut requests: Vec<(usize, TraceRequest, ResolvedObjective)> =
            Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            match self.request(&work, row, known) {
                Ok((request, objective)) => requests.push((row, request, objective)),
                Err(reason) => {
                    rejected.push(Rejected { row: first_row + row as u64, id: work.id(row), reason })
                }
            }
        }
        progress(rejected.len());

        // Rows share a pass where they have a length and loss positions in common.
        let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (at, (_, request, objective)) in requests.iter().enumerate() {
            groups.entry((request.ids.len(), objective.count)).or_default().push(at);
        }
        let mut measured: Vec<Option<Measured>> = requests.iter().map(|_| None).collect();
        for ((tokens, positions), group) in groups {
            for chunk in group.chunks(self.batch_size(tokens, positions, group.len())) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let size = self.batch_size(tokens, positions, group.len());
                let rows: Vec<&(usize, TraceRequest, ResolvedObjective)> =
                    chunk.iter().map(|at| &requests[*at]).collect();
                for (at, result) in chunk.iter().zip(self.pass(&rows, size)?) {
                    measured[*at] = Some(result);
                }
                progress(chunk.len());
            }
        }
        let rows: Vec<usize> = requests.iter().map(|(row, ..)| *row).collect();
        let measured: Vec<Measured> = measured.into_iter().flatten().collect();
        let table = assemble(batch, first_row, &rows, &measured, &self.columns, self.model.tokenizer())?;
        Ok(Some((table, rejected)))
    }

    fn request(
        &self,
        work: &WorkColumns,
        row: usize,
        known: &BTreeMap<usize, String>,
    ) -> Result<(TraceRequest, ResolvedObjective), String> {
        if let Some(reason) = known.get(&row) {
            return Err(reason.clone());
        }
        if work.has_ids() && work.id(row).is_none() {
            return Err(format!("{}: is missing", self.columns.id));
        }
        let model = (self.model.config(), self.model.tokenizer());
        let request =
            work.request(row, &self.columns, &self.capture, model).map_err(|error| error.to_string())?;
        let objective = request.resolve(self.model.config()).map_err(|error| error.to_string())?;
        Ok((request, objective))
    }

    /// Sequences of a pass. A group is cut into equal parts, so that one recorded pass serves all of them.
    fn batch_size(&self, tokens: usize, positions: usize, group: usize) -> usize {
        let logits = BATCH_LOGITS / (positions * self.model.config().vocab_size).max(1);
        let most = (BATCH_TOKENS / tokens.max(1)).min(logits).max(1);
        match self.one_by_one {
            true => 1,
            false => group.div_ceil(group.div_ceil(most).max(1)).max(1),
        }
    }

    /// One pass over `size` sequences; where there are fewer, the last is repeated.
    fn pass(
        &self,
        rows: &[&(usize, TraceRequest, ResolvedObjective)],
        size: usize,
    ) -> Result<Vec<Measured>, SweepError> {
        let mut requests: Vec<TraceRequest> = rows.iter().map(|(_, request, _)| request.clone()).collect();
        if let Some(last) = requests.last().cloned() {
            requests.resize(size.max(requests.len()), last);
        }
        let trace: BatchTrace = self.model.trace_batch(&requests)?;
        let (losses, norms) = (trace.losses()?, trace.head_norms()?);
        let read = trace.read_all(&self.sites)?;
        drop(trace);
        let config = self.model.config();
        let layers = config.n_layer;
        let (logits, vectors) = read.split_first().ok_or_else(|| nothing("logits"))?;
        let (attn, rest) = vectors.split_at(layers);
        let (mlp, lens) = rest.split_at(layers);
        let single = |norms: &[Vec<f64>]| -> Vec<Vec<f32>> {
            norms.iter().map(|heads| heads.iter().map(|norm| *norm as f32).collect()).collect()
        };
        let mut measured = Vec::with_capacity(rows.len());
        for (at, (_, request, objective)) in rows.iter().enumerate() {
            let own = sequence(logits, at, size);
            let last = own.len() - config.vocab_size;
            let target = objective.targets.last().copied().ok_or_else(|| nothing("target"))?;
            let standing = Standing::of(&own[last..], target);
            measured.push(Measured {
                tokens: request.ids.len(),
                loss: losses[at],
                answer: standing.answer,
                target,
                target_rank: standing.rank,
                target_probability: standing.probability,
                pattern_norm: single(&norms[at].pattern),
                reversed_norm: single(&norms[at].reversed),
                attn_delta_norm: attn.iter().map(|delta| norm(sequence(delta, at, size))).collect(),
                mlp_delta_norm: mlp.iter().map(|delta| norm(sequence(delta, at, size))).collect(),
                lens: Vec::new(),
            });
        }
        for tensors in lens.chunks_exact(layers.max(1)) {
            self.read_lens(tensors, rows, size, &mut measured)?;
        }
        Ok(measured)
    }

    /// Reads the last position that carries loss, in every layer, in the vocabulary.
    fn read_lens(
        &self,
        tensors: &[HostTensor],
        rows: &[&(usize, TraceRequest, ResolvedObjective)],
        size: usize,
        measured: &mut [Measured],
    ) -> Result<(), SweepError> {
        let (layers, width) = (tensors.len(), self.model.config().n_embd);
        let together = (LENS_VECTORS / layers.max(1)).max(1);
        for first in (0..rows.len()).step_by(together) {
            let part = first..(first + together).min(rows.len());
            let mut vectors = Vec::with_capacity(part.len() * layers * width);
            let mut asked: Vec<TokenId> = Vec::new();
            for at in part.clone() {
                let objective = &rows[at].2;
                let position = objective.first_position + objective.count - 1;
                for tensor in tensors {
                    vectors.extend_from_slice(&sequence(tensor, at, size)[position * width..][..width]);
                }
                asked.extend([measured[at].answer.0, measured[at].target]);
            }
            asked.sort();
            asked.dedup();
            let vectors = HostTensor::f32([part.len() * layers, width], vectors);
            let request = ProjectionRequest::new(vectors).top(1).ranks_of(asked.clone());
            let readings = self.model.project(&request)?;
            for (at, readings) in part.zip(readings.chunks_exact(layers)) {
                let place = |id: TokenId| asked.binary_search(&id).map_err(|_| nothing("rank"));
                let (answer, target) = (place(measured[at].answer.0)?, place(measured[at].target)?);
                let reading = |reading: &retrograd_formats::Projection| -> Option<LensReading> {
                    Some(LensReading {
                        target_rank: reading.tokens.get(target)?.rank,
                        answer_rank: reading.tokens.get(answer)?.rank,
                        top: reading.top.first()?.0,
                        bottom: reading.bottom.first()?.0,
                    })
                };
                let readings: Option<Vec<LensReading>> = readings.iter().map(reading).collect();
                measured[at].lens.push(readings.ok_or_else(|| nothing("reading"))?);
            }
        }
        Ok(())
    }
}

fn nothing(what: &str) -> SweepError {
    retrograd_formats::RequestError::invalid(what, "was not returned by the pass").into()
}

/// The part of one sequence in a tensor of `size` of them.
fn sequence(tensor: &HostTensor, at: usize, size: usize) -> &[f32] {
    let all = tensor.as_f32();
    let own = all.len() / size.max(1);
    &all[at * own..(at + 1) * own]
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32
}

/// A row of logits as far as a table wants it.
struct Standing {
    answer: (TokenId, f64),
    rank: usize,
    probability: f64,
}

impl Standing {
    fn of(logits: &[f32], target: TokenId) -> Self {
        // Of equals the lowest id, as everywhere.
        let best = logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (id, &logit)| {
            if logit > best.1 { (id, logit) } else { best }
        });
        let largest = f64::from(best.1);
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
        let wanted = logits[target.0 as usize];
        Standing {
            answer: (TokenId(best.0 as u32), 1.0 / sum),
            rank: logits.iter().filter(|&&logit| logit > wanted).count(),
            probability: (f64::from(wanted) - largest).exp() / sum,
        }
    }
}
