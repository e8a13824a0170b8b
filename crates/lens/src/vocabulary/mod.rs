//! The vocabulary lens: vectors of a trace, layer by layer and position by position, read as tokens.
//!
//! A vector v of the model's width reads as `softmax(ln_f(v)·Eᵀ)`. Backward Lens (Katz et al., EMNLP 2024) reads
//! the two factors of a weight gradient so: x, what the layer saw, and δ, what a step against the gradient takes
//! away from the layer's output where x comes again. Going down the loss subtracts δ, so the tokens that are
//! written are those that δ makes *least* probable.

mod csv;
mod sites;

pub use csv::lens_csv;
pub use sites::{DEFAULT_LENS_SITES, is_readable, lens_sites};

use crate::{Prediction, TargetPrediction, TokenText, token_texts};
use retrograd_formats::{
    HostTensor, Layer, Objective, Project, Projection, ProjectionRequest, RequestError, ResolvedObjective,
    Site, TokenId, Tokenizer, TraceRead,
};
use serde::Serialize;

/// How vectors are read.
#[derive(Clone, Debug)]
pub struct LensOptions {
    /// Which tensors; see [`lens_sites`].
    pub sites: Vec<Site>,
    /// How many of the most and of the least probable tokens each reading names.
    pub top: usize,
    /// Divides each vector by its norm before ln_f: short vectors otherwise read more like ln_f's bias, since its
    /// epsilon stands beside their variance.
    pub normalize: bool,
}

/// The document of `retrograd lens --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LensReport {
    /// `retrograd-lens/1`.
    pub schema: &'static str,
    /// The model's directory or name.
    pub model: String,
    /// The tokens of the pass.
    pub tokens: Vec<TokenText>,
    /// The last position that carries loss.
    pub position: usize,
    /// The most probable token after that position.
    pub answer: Prediction,
    /// What the objective wants there; `None` for a caller's own δ.
    pub target: Option<TargetPrediction>,
    /// The loss.
    pub loss: f32,
    /// Whether vectors were divided by their norm.
    pub normalized: bool,
    /// One for each site, layer and position, in this order.
    pub entries: Vec<LensEntry>,
    /// Every weight gradient, where that was asked for; [`lens`] leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradients: Option<crate::GradientReport>,
}

/// One vector, read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LensEntry {
    /// The tensor's name within its block: `mlp.c_proj.delta`.
    pub site: &'static str,
    /// The block.
    pub layer: usize,
    /// The position, from 0.
    pub position: usize,
    /// ‖v‖ of the vector itself.
    pub norm: f64,
    /// How many tokens are strictly more probable than the target.
    pub target_rank: Option<usize>,
    /// How many tokens are strictly more probable than the answer.
    pub answer_rank: usize,
    /// The target's probability.
    pub target_probability: Option<f64>,
    /// Entropy of the distribution over the vocabulary, in bits.
    pub entropy_bits: f64,
    /// The most probable tokens, the most probable first.
    pub top: Vec<Prediction>,
    /// The least probable tokens, the least probable first.
    pub bottom: Vec<Prediction>,
}

/// The entries of one site: layers down, positions across.
#[derive(Clone, Copy, Debug)]
pub struct LensTable<'a> {
    /// The tensor's name within its block.
    pub site: &'static str,
    /// Its entries, by layer and then by position.
    pub entries: &'a [LensEntry],
    /// Number of positions.
    pub positions: usize,
}

impl LensTable<'_> {
    /// One slice a layer, each with an entry for every position.
    pub fn rows(&self) -> impl Iterator<Item = &[LensEntry]> {
        self.entries.chunks_exact(self.positions.max(1))
    }

    /// The largest norm.
    pub fn largest_norm(&self) -> f64 {
        self.entries.iter().fold(0.0, |largest, entry| largest.max(entry.norm))
    }
}

impl LensReport {
    /// The entries by site.
    pub fn tables(&self) -> Vec<LensTable<'_>> {
        let positions = self.tokens.len();
        self.entries
            .chunk_by(|a, b| a.site == b.site)
            .filter_map(|entries| {
                entries.first().map(|first| LensTable { site: first.site, entries, positions })
            })
            .collect()
    }
}

/// What a trace must hold for [`lens`]: the tensors to be read, and the last residual stream, which says what
/// the model answers.
pub fn lens_capture(sites: &[Site]) -> Vec<Site> {
    sites.iter().copied().chain([Site::LnFInput]).collect()
}

/// Vectors that are read from the trace at a time: bounds the host's memory.
const VECTORS_AT_ONCE: usize = 4096;

/// Reads the vectors of a trace in the vocabulary of the model that made it.
///
/// ```no_run
/// use retrograd_lens::{LensOptions, lens, lens_sites};
/// # fn example(trace: &dyn retrograd_formats::TraceRead, model: &dyn retrograd_formats::Project) -> Result<(), retrograd_formats::RequestError> {
/// let sites = lens_sites(None, None, trace.meta().config.n_layer)?;
/// let report = lens(trace, model, &LensOptions { sites, top: 5, normalize: false }, None)?;
/// for entry in &report.entries {
///     println!("{} {} {}: {:?}", entry.site, entry.layer, entry.position, entry.top[0].token);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When a tensor was not captured (see [`lens_capture`]), when no token or more than there are would be named,
/// and when the device fails.
pub fn lens(
    trace: &dyn TraceRead,
    model: &dyn Project,
    options: &LensOptions,
    tokenizer: Option<&Tokenizer>,
) -> Result<LensReport, RequestError> {
    let meta = trace.meta();
    let tokens = meta.ids.len();
    let width = meta.config.n_embd;
    let wanted = wanted_token(&meta.objective);
    let (answer, target) = answer(trace, model, wanted)?;
    let ranked: Vec<TokenId> = std::iter::once(answer.0).chain(wanted).collect();

    let mut order = options.sites.clone();
    order.sort_by_key(|site| match site {
        Site::Block(layer, block) => (*block, layer.0),
        _ => (retrograd_formats::BlockSite::Pattern, 0),
    });
    order.dedup();
    let mut entries = Vec::with_capacity(order.len() * tokens);
    for group in order.chunks((VECTORS_AT_ONCE / tokens.max(1)).max(1)) {
        let mut vectors: Vec<f32> = Vec::with_capacity(group.len() * tokens * width);
        for (tensor, site) in trace.read_all(group)?.iter().zip(group) {
            if tensor.shape != [tokens, width] {
                let reason = format!("has shape {:?}, not one vector of {width} a position", tensor.shape);
                return Err(RequestError::invalid(site.to_string(), reason));
            }
            vectors.extend_from_slice(tensor.as_f32());
        }
        let norms: Vec<f64> = vectors.chunks_exact(width).map(norm).collect();
        let vectors = HostTensor::f32([group.len() * tokens, width], vectors);
        let request = ProjectionRequest::new(vectors)
            .top(options.top)
            .normalize(options.normalize)
            .ranks_of(ranked.clone());
        let places = group.iter().flat_map(|site| (0..tokens).map(move |position| (*site, position)));
        for ((place, norm), reading) in places.zip(norms).zip(model.project(&request)?) {
            if let (Site::Block(layer, block), position) = place {
                entries.push(entry((block.suffix(), layer, position), norm, &reading, tokenizer));
            }
        }
    }
    let named = |id: TokenId| TokenText::new(id, tokenizer);
    Ok(LensReport {
        schema: "retrograd-lens/1",
        model: meta.model.clone(),
        tokens: token_texts(&meta.ids, tokenizer),
        position: meta.objective.first_position + meta.objective.count - 1,
        answer: Prediction { token: named(answer.0), probability: answer.1 },
        target: wanted.zip(target).map(|(id, standing)| TargetPrediction {
            token: named(id),
            probability: standing.probability,
            rank: standing.rank,
        }),
        loss: trace.loss()?,
        normalized: options.normalize,
        entries,
        gradients: None,
    })
}

/// The token that the objective wants after its last position.
pub(crate) fn wanted_token(objective: &ResolvedObjective) -> Option<TokenId> {
    match &objective.objective {
        Objective::LogitDifference { token, .. } => Some(*token),
        _ => objective.targets.last().copied(),
    }
}

pub(crate) type Standing = retrograd_formats::TokenStanding;

/// What the model answers after the last position with loss, and where the wanted token stands there.
pub(crate) fn answer(
    trace: &dyn TraceRead,
    model: &dyn Project,
    wanted: Option<TokenId>,
) -> Result<((TokenId, f64), Option<Standing>), RequestError> {
    let objective = &trace.meta().objective;
    let width = trace.meta().config.n_embd;
    let last = objective.first_position + objective.count - 1;
    let stream = trace.read(Site::LnFInput)?;
    let row = stream.as_f32().chunks_exact(width).nth(last).unwrap_or_default().to_vec();
    let request = ProjectionRequest::new(HostTensor::f32([row.len() / width, width], row))
        .top(1)
        .ranks_of(wanted.into_iter().collect());
    let reading = model.project(&request)?.into_iter().next();
    let answer = reading.as_ref().and_then(|reading| reading.top.first().copied());
    let answer = answer.ok_or_else(|| RequestError::invalid("answer", "the last position has no logits"))?;
    Ok((answer, reading.and_then(|reading| reading.tokens.first().copied())))
}

fn entry(
    (site, layer, position): (&'static str, Layer, usize),
    norm: f64,
    reading: &Projection,
    tokenizer: Option<&Tokenizer>,
) -> LensEntry {
    let named = |list: &[(TokenId, f64)]| {
        list.iter()
            .map(|&(id, probability)| Prediction { token: TokenText::new(id, tokenizer), probability })
            .collect()
    };
    let target = reading.tokens.get(1);
    LensEntry {
        site,
        layer: layer.0,
        position,
        norm,
        target_rank: target.map(|target| target.rank),
        answer_rank: reading.tokens.first().map_or(0, |answer| answer.rank),
        target_probability: target.map(|target| target.probability),
        entropy_bits: reading.entropy / std::f64::consts::LN_2,
        top: named(&reading.top),
        bottom: named(&reading.bottom),
    }
}

/// ‖v‖, accumulated in f64.
fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrograd_formats::{BlockSite, Capture, TraceRequest};
    use retrograd_reference::ReferenceModel;
    use std::path::Path;

    fn oracle(name: &str) -> ReferenceModel {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
        ReferenceModel::load(&dir).unwrap()
    }

    fn read(objective: Objective, sites: &[Site], normalize: bool) -> LensReport {
        let model = oracle("three_layers");
        let ids = [3, 1, 4, 1, 5].map(TokenId).to_vec();
        let request = TraceRequest::new(ids, objective).capture(Capture::only(lens_capture(sites)));
        let trace = model.trace(&request).unwrap();
        let options = LensOptions { sites: sites.to_vec(), top: 3, normalize };
        lens(&trace, &model, &options, None).unwrap()
    }

    #[test]
    fn the_last_residual_stream_reads_as_the_models_answer() {
        let sites = lens_sites(Some("resid_post,mlp.c_proj.delta"), None, 3).unwrap();
        let report = read(Objective::Target(TokenId(7)), &sites, false);
        assert_eq!(report.entries.len(), 2 * 3 * 5);
        let target = report.target.as_ref().unwrap();
        assert!((-target.probability.ln() - f64::from(report.loss)).abs() < 1e-5);
        let tables = report.tables();
        assert_eq!(
            tables.iter().map(|table| table.site).collect::<Vec<_>>(),
            ["mlp.c_proj.delta", "resid_post"]
        );
        let last = tables[1].rows().last().unwrap().last().unwrap();
        assert_eq!((last.layer, last.position), (2, 4));
        assert_eq!((last.answer_rank, last.target_rank), (0, Some(target.rank)));
        assert_eq!(last.top[0].token, report.answer.token);
        assert!((last.top[0].probability - report.answer.probability).abs() < 1e-6);
    }

    #[test]
    fn positions_without_a_signal_read_as_the_bias_whether_normalised_or_not() {
        let sites = [Site::Block(Layer(2), BlockSite::MlpProjDelta)];
        let plain = read(Objective::Target(TokenId(7)), &sites, false);
        let normalized = read(Objective::Target(TokenId(7)), &sites, true);
        assert!(
            plain.entries[..4].iter().all(|entry| entry.norm == 0.0 && entry.top == plain.entries[0].top)
        );
        assert_eq!(plain.entries[..4], normalized.entries[..4]);
        assert_eq!(plain.entries[4].norm, normalized.entries[4].norm);
        assert_ne!(plain.entries[4].top[0].probability, normalized.entries[4].top[0].probability);
    }

    #[test]
    fn objectives_have_the_target_of_their_last_position() {
        let sites = [Site::Block(Layer(0), BlockSite::ResidPost)];
        let report = read(Objective::NextToken, &sites, false);
        assert_eq!(report.target.unwrap().token.id, 5);
        let difference = Objective::LogitDifference { token: TokenId(8), minus: TokenId(9) };
        assert_eq!(read(difference, &sites, false).target.unwrap().token.id, 8);
        let delta = Objective::Delta { first_position: 1, delta: vec![0.5; 1031] };
        let report = read(delta, &sites, false);
        assert!(report.target.is_none() && report.entries[0].target_rank.is_none());
    }

    #[test]
    fn what_was_not_captured_is_named() {
        let model = oracle("three_layers");
        let site = Site::Block(Layer(0), BlockSite::ResidPost);
        let request = TraceRequest::new(vec![TokenId(3)], Objective::Target(TokenId(1)));
        let trace = model.trace(&request.capture(Capture::only([site]))).unwrap();
        let options = LensOptions { sites: vec![site], top: 3, normalize: false };
        let error = lens(&trace, &model, &options, None).unwrap_err();
        assert!(error.to_string().contains("ln_f.input"), "{error}");
    }
}
