//! What a page shows, gathered from a trace. The documents in it are those that the commands print.

use crate::maps::{self, ExactHead, Manifest};
use retrograd::lens::{
    AttentionReport, FlowOptions, FlowReport, LensOptions, LensReport, TraceSummary, attention_report, flow,
    flow_capture, lens, lens_capture, lens_sites, summarize, summary_sites,
};
use retrograd::{
    BlockSite, Config, Head, Interventions, ParameterRead, RequestError, Site, Tokenizer, TraceRead,
};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Write;

/// Values of maps that are kept in f32 where nobody says which heads: all of a short prompt's, else those of the heads
/// with the largest ‖R‖ until this many are there. Each takes four bytes.
const EXACT_VALUES: usize = 100_000;

/// Readings of the lens above which each names fewer tokens: they would be most of the file.
const MANY_READINGS: usize = 4096;

/// Most probable tokens of each position with loss.
const PREDICTIONS: usize = 10;

/// The views that a page has beside its overview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Views {
    /// Attention maps of every head.
    pub heads: bool,
    /// The Backward Lens.
    pub lens: bool,
    /// The flow graph.
    pub flow: bool,
}

impl Views {
    /// All of them.
    pub const ALL: Views = Views { heads: true, lens: true, flow: true };

    /// Those that a list names; `overview` is always there.
    ///
    /// # Errors
    /// A name that is none.
    pub fn named(names: &[String]) -> Result<Views, RequestError> {
        let mut views = Views { heads: false, lens: false, flow: false };
        for name in names {
            match name.trim() {
                "overview" => {}
                "heads" => views.heads = true,
                "lens" => views.lens = true,
                "flow" => views.flow = true,
                other => {
                    let reason = format!("'{other}' is none of overview, heads, lens, flow");
                    return Err(RequestError::invalid("--views", reason));
                }
            }
        }
        Ok(views)
    }
}

/// What a page shows.
#[derive(Clone, Debug)]
pub struct PageOptions {
    /// Which views.
    pub views: Views,
    /// The view that it begins with: `overview`, `heads`, `lens` or `flow`.
    pub first: &'static str,
    /// The tensors that the lens reads; see [`lens_sites`].
    pub lens_sites: Vec<Site>,
    /// Most and least probable tokens of each reading of the lens; `None` takes five, or three where there are more
    /// than 4,096 readings.
    pub lens_top: Option<usize>,
    /// Whether the lens divides each vector by its norm.
    pub normalize: bool,
    /// The flow graph.
    pub flow: FlowOptions,
    /// Heads whose maps are kept in f32; `None` takes those with the largest ‖R‖.
    pub exact: Option<Vec<Head>>,
    /// The file that has the maps in full precision, where one is written beside the page.
    pub full_precision: Option<String>,
}

impl PageOptions {
    /// Every view of a model with `n_layer` blocks, with the lens's two tables and the residual stream.
    ///
    /// # Errors
    /// Does not fail for a model that has blocks.
    pub fn new(first: &'static str, n_layer: usize) -> Result<Self, RequestError> {
        let sites = "mlp.c_fc.input,mlp.c_proj.delta,resid_post";
        Ok(PageOptions {
            views: Views::ALL,
            first,
            lens_sites: lens_sites(Some(sites), None, n_layer)?,
            lens_top: None,
            normalize: false,
            flow: FlowOptions::default(),
            exact: None,
            full_precision: None,
        })
    }
}

/// What a trace must hold for a page.
///
/// # Errors
/// When the flow graph's options name a block that the model does not have.
pub fn page_capture(options: &PageOptions, config: &Config) -> Result<Vec<Site>, RequestError> {
    let mut sites: BTreeSet<Site> = summary_sites(config.n_layer).into_iter().collect();
    sites.insert(Site::LnFInput);
    if options.views.lens {
        sites.extend(lens_capture(&options.lens_sites));
    }
    if options.views.flow {
        sites.extend(flow_capture(&options.flow, config)?);
    }
    Ok(sites.into_iter().collect())
}

/// What was changed in the pass, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Silenced heads, `L3H7`.
    pub ablate: Vec<String>,
    /// The attention patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
}

impl Changed {
    fn of(interventions: &Interventions) -> Option<Changed> {
        if interventions.is_empty() {
            return None;
        }
        let ablate = interventions.ablate.iter().map(|head| head.to_string()).collect();
        let patch = interventions.patch.as_ref().map(|patch| {
            let layers = patch.maps.len();
            format!("α = {} times the maps of {layers} layers", patch.alpha)
        });
        Some(Changed { ablate, patch })
    }
}

#[derive(Serialize)]
struct Shape<'a> {
    name: &'a str,
    n_layer: usize,
    n_head: usize,
    n_embd: usize,
    vocab_size: usize,
    n_positions: usize,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    retrograd: &'static str,
    view: &'static str,
    shape: Shape<'a>,
    summary: &'a TraceSummary,
    attention: &'a AttentionReport,
    lens: Option<&'a LensReport>,
    flow: Option<&'a FlowReport>,
    maps: Option<&'a Manifest>,
    changed: Option<&'a Changed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    full_precision: Option<&'a str>,
}

/// Why a page could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// A number or a text that JSON cannot hold.
    #[error("the page's document: {0}")]
    Json(#[from] serde_json::Error),
    /// Compression failed.
    #[error("the page's data: {0}")]
    Io(#[from] std::io::Error),
    /// The document is larger than 4 GiB.
    #[error(
        "the page's document takes {0} bytes, more than a page can hold: choose fewer --layers or --views"
    )]
    TooLarge(usize),
}

/// Everything that a page shows.
#[derive(Clone, Debug)]
pub struct Page {
    first: &'static str,
    name: String,
    config: Config,
    summary: TraceSummary,
    attention: AttentionReport,
    lens: Option<LensReport>,
    flow: Option<FlowReport>,
    maps: Option<(Manifest, Vec<u8>)>,
    changed: Option<Changed>,
    full_precision: Option<String>,
}

/// Gathers a page from a trace and the model that made it. `progress` is told what comes next.
///
/// # Errors
/// When a tensor was not captured (see [`page_capture`]), or the options do not fit the model.
pub fn page(
    trace: &dyn TraceRead,
    model: &dyn ParameterRead,
    options: &PageOptions,
    tokenizer: Option<&Tokenizer>,
    progress: &mut dyn FnMut(&str) -> Result<(), RequestError>,
) -> Result<Page, RequestError> {
    let meta = trace.meta();
    progress("reading the heads")?;
    let summary = summarize(trace, tokenizer, PREDICTIONS.min(meta.config.vocab_size))?;
    let attention = attention_report(trace, tokenizer)?;
    let maps = match options.views.heads {
        true => maps::encode(trace, &exact_heads(options, &attention, meta.ids.len()))?,
        false => None,
    };
    let lens = match options.views.lens {
        true => {
            progress("reading the lens")?;
            let many = options.lens_sites.len() * meta.ids.len() > MANY_READINGS;
            let top = options.lens_top.unwrap_or(if many { 3 } else { 5 });
            let options = LensOptions {
                sites: options.lens_sites.clone(),
                top: top.min(meta.config.vocab_size),
                normalize: options.normalize,
            };
            Some(lens(trace, model, &options, tokenizer)?)
        }
        false => None,
    };
    let flow = match options.views.flow {
        true => {
            progress("reading the flow graph")?;
            let options =
                FlowOptions { top: options.flow.top.min(meta.config.vocab_size), ..options.flow.clone() };
            Some(flow(trace, model, &options, tokenizer)?)
        }
        false => None,
    };
    let name = std::path::Path::new(&meta.model)
        .file_name()
        .map_or_else(|| meta.model.clone(), |name| name.to_string_lossy().into_owned());
    Ok(Page {
        first: options.first,
        name,
        config: meta.config.clone(),
        summary,
        attention,
        lens,
        flow,
        maps,
        changed: Changed::of(&options.flow.interventions),
        full_precision: options.full_precision.clone(),
    })
}

/// The heads whose maps are kept in f32.
fn exact_heads(options: &PageOptions, attention: &AttentionReport, tokens: usize) -> Vec<ExactHead> {
    if let Some(heads) = &options.exact {
        return heads.iter().map(|head| ExactHead { layer: head.layer, head: head.head }).collect();
    }
    let values = tokens * (tokens + 1); // both triangles of a head
    let fit = (EXACT_VALUES / values.max(1)).max(1);
    attention.heads.iter().take(fit).map(|s| ExactHead { layer: s.layer, head: s.head }).collect()
}

impl Page {
    /// The graph, where the page has it.
    pub fn flow(&self) -> Option<&FlowReport> {
        self.flow.as_ref()
    }

    /// What was changed in the pass is said on the page, also where it has no graph.
    pub fn changed_by(mut self, interventions: &Interventions) -> Page {
        self.changed = Changed::of(interventions);
        self
    }

    /// The document and the maps behind it, gzipped: what the page's script unpacks.
    ///
    /// # Errors
    /// When it is larger than 4 GiB.
    pub fn pack(&self) -> Result<Vec<u8>, PageError> {
        let config = &self.config;
        let document = Document {
            schema: "retrograd-page/1",
            retrograd: env!("CARGO_PKG_VERSION"),
            view: self.first,
            shape: Shape {
                name: &self.name,
                n_layer: config.n_layer,
                n_head: config.n_head,
                n_embd: config.n_embd,
                vocab_size: config.vocab_size,
                n_positions: config.n_positions,
            },
            summary: &self.summary,
            attention: &self.attention,
            lens: self.lens.as_ref(),
            flow: self.flow.as_ref(),
            maps: self.maps.as_ref().map(|(manifest, _)| manifest),
            changed: self.changed.as_ref(),
            full_precision: self.full_precision.as_deref(),
        };
        pack(&serde_json::to_vec(&document)?, self.maps.as_ref().map_or(&[], |(_, bytes)| bytes))
    }
}

/// `u32 length, little-endian | document | maps`, gzipped.
pub(crate) fn pack(document: &[u8], maps: &[u8]) -> Result<Vec<u8>, PageError> {
    let length = u32::try_from(document.len()).map_err(|_| PageError::TooLarge(document.len()))?;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    out.write_all(&length.to_le_bytes())?;
    out.write_all(document)?;
    out.write_all(maps)?;
    Ok(out.finish()?)
}

/// The sites of both maps of every layer.
pub(crate) fn map_sites(n_layer: usize, kinds: &[BlockSite]) -> Vec<Site> {
    let of = |layer| kinds.iter().map(move |kind| Site::Block(retrograd::Layer(layer), *kind));
    (0..n_layer).flat_map(of).collect()
}
