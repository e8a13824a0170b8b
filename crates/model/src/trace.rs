//! A finished pass on the device, read where it is asked.

use crate::ModelError;
use crate::gpt2::{Gpt2, ProgramKey};
use crate::program::Program;
use crate::sources::Source;
use retrograd_formats::{
    Config, HeadNorms, HostTensor, RequestError, ResolvedObjective, Site, TokenId, TraceMeta, TraceRead,
};
use retrograd_gpu::{HostData, Tensor};

/// One forward and one backward pass. Its tensors lie on the device until
/// [`read`](TraceRead::read) or [`read_all`](TraceRead::read_all) copies them; when it is dropped, the
/// memory serves the next trace of that shape.
pub struct Trace {
    model: Gpt2,
    // `None` only while dropping.
    program: Option<Program>,
    key: Option<ProgramKey>,
    meta: TraceMeta,
    sites: Vec<Site>,
}

impl Trace {
    pub(crate) fn new(
        model: Gpt2,
        program: Program,
        key: Option<ProgramKey>,
        objective: ResolvedObjective,
        ids: Vec<TokenId>,
    ) -> Trace {
        let adapter = model.gpu().adapter();
        let meta = TraceMeta {
            model: model.name().to_owned(),
            prompt: model.tokenizer().map(|tokenizer| tokenizer.decode(&ids)),
            ids,
            objective,
            adapter: adapter.name.clone(),
            driver: format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned(),
            config: model.config().clone(),
        };
        let sites = Site::all(meta.config.n_layer)
            .into_iter()
            .filter(|site| *site == Site::Tokens || program.source(*site).is_some())
            .collect();
        Trace { model, program: Some(program), key, meta, sites }
    }

    /// Records the prompt's text as the user gave it.
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Trace {
        self.meta.prompt = Some(prompt.into());
        self
    }

    /// Time of each kernel of the pass, run once more with a clock; `None` where the adapter has none.
    pub fn kernel_times(&self) -> Result<Option<Vec<retrograd_gpu::KernelTime>>, ModelError> {
        match &self.program {
            Some(program) => program.kernel_times(self.model.gpu()),
            None => Ok(None),
        }
    }

    /// Kernel dispatches of the pass.
    pub fn dispatches(&self) -> usize {
        self.program.as_ref().map_or(0, Program::dispatches)
    }

    /// The model that was traced.
    pub(crate) fn model(&self) -> &Gpt2 {
        &self.model
    }

    /// The pass, for another run.
    pub(crate) fn into_program(mut self) -> Option<Program> {
        self.program.take()
    }

    /// The tensor that a site is, on the device.
    pub(crate) fn tensor(&self, site: Site) -> Result<&Tensor, RequestError> {
        match self.program.as_ref().and_then(|program| program.source(site)) {
            Some(Source::Whole(tensor)) => Ok(tensor),
            _ => Err(not_captured(site)),
        }
    }
}

impl TraceRead for Trace {
    fn meta(&self) -> &TraceMeta {
        &self.meta
    }

    fn sites(&self) -> Vec<Site> {
        self.sites.clone()
    }

    fn head_norms(&self) -> Result<Option<HeadNorms>, RequestError> {
        let Some(norms) = self.program.as_ref().and_then(|program| program.head_norms.as_ref()) else {
            return Ok(None);
        };
        let read = self.model.gpu().read(norms);
        let read = read.map_err(|error| RequestError::invalid("reading the norms", error.to_string()))?;
        Ok(head_norms(&read, &self.meta.config, 1).pop())
    }

    fn read_all(&self, sites: &[Site]) -> Result<Vec<HostTensor>, RequestError> {
        match &self.program {
            Some(program) => read_sites(&self.model, program, &self.meta.ids, sites),
            None => Ok(Vec::new()),
        }
    }
}

/// The norms of each sequence from what a pass measured: (3, L, batch·H).
pub(crate) fn head_norms(read: &[f32], config: &Config, batch: usize) -> Vec<HeadNorms> {
    let (layers, heads) = (config.n_layer, config.n_head);
    let of = |kind: usize, sequence: usize| -> Vec<Vec<f64>> {
        let layer = |layer: usize| {
            let first = ((kind * layers + layer) * batch + sequence) * heads;
            read[first..first + heads].iter().map(|norm| f64::from(*norm)).collect()
        };
        (0..layers).map(layer).collect()
    };
    (0..batch)
        .map(|sequence| HeadNorms {
            pattern: of(0, sequence),
            reversed: of(1, sequence),
            attribution: of(2, sequence),
        })
        .collect()
}

pub(crate) fn not_captured(site: Site) -> RequestError {
    RequestError::invalid(site.to_string(), "was not captured: widen --layers or --sites")
}

/// Copies tensors of a pass to the host in one round trip.
pub(crate) fn read_sites(
    model: &Gpt2,
    program: &Program,
    ids: &[TokenId],
    sites: &[Site],
) -> Result<Vec<HostTensor>, RequestError> {
    let source = |site: &Site| match site {
        Site::Tokens => Ok(None),
        site => program.source(*site).map(Some).ok_or_else(|| not_captured(*site)),
    };
    let sources = sites.iter().map(source).collect::<Result<Vec<_>, _>>()?;
    let tensors: Vec<&Tensor> = sources
        .iter()
        .flatten()
        .flat_map(|source| match source {
            Source::Whole(tensor) | Source::Row(tensor, _) => std::slice::from_ref(tensor),
            Source::Columns(pieces) => pieces.as_slice(),
        })
        .collect();
    let read = model.gpu().read_many(&tensors);
    let mut data = read
        .map_err(|error| RequestError::invalid("reading the trace", error.to_string()))?
        .into_iter()
        .map(HostData::into_f32);
    let (form, rows) = (program.form, program.form.loss_rows());
    let host = sites.iter().zip(sources).map(|(site, source)| {
        let mut shape = site.shape(model.config(), form.context, form.positions);
        if form.batch > 1 {
            shape.insert(0, form.batch);
        }
        let mut next = || data.next().unwrap_or_default();
        match source {
            None => HostTensor::u32(shape, ids.iter().map(|id| id.0).collect()),
            Some(Source::Whole(_)) => HostTensor::f32(shape, next()),
            Some(Source::Row(_, row)) => {
                let width = shape[0];
                HostTensor::f32(shape, next()[row * width..(row + 1) * width].to_vec())
            }
            Some(Source::Columns(pieces)) if pieces.len() == 1 => HostTensor::f32(shape, next()),
            Some(Source::Columns(pieces)) => {
                let blocks: Vec<Vec<f32>> = pieces.iter().map(|_| next()).collect();
                HostTensor::f32(shape, side_by_side(&blocks, rows))
            }
        }
    });
    Ok(host.collect())
}

/// Column blocks of a matrix with `rows` rows, joined.
pub(crate) fn side_by_side(blocks: &[Vec<f32>], rows: usize) -> Vec<f32> {
    let mut joined = Vec::with_capacity(blocks.iter().map(Vec::len).sum());
    for row in 0..rows {
        for block in blocks {
            let width = block.len() / rows;
            joined.extend_from_slice(&block[row * width..(row + 1) * width]);
        }
    }
    joined
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let (Some(key), Some(program)) = (self.key.take(), self.program.take()) {
            self.model.checkin(key, program);
        }
    }
}
