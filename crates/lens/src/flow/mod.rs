//! The forward flow graph of a position (VISIT, Katz & Belinkov, Findings of EMNLP 2023): what it reads, which heads
//! and neurons act, what they write, each read in the vocabulary; and, beside it, the backward signal of each.
//!
//! Conventions are in docs/flow.md. Nothing runs twice: activations come from the trace; queries, keys and values of
//! the few positions that are shown are made from the attention's input again, on the host.

mod block;
mod graph;
mod layout;
mod matrix;
mod options;

pub use graph::{FlowLink, FlowNode, FlowReport, LinkKind, NodeGradient, NodeKind};
pub use options::{FlowCounts, FlowFactors, FlowOptions};

use crate::vocabulary::{answer, wanted_token};
use crate::{Prediction, TargetPrediction, TokenText, token_texts};
use retrograd_formats::{
    Config, HostTensor, Layer, ParameterRead, ProjectionRequest, RequestError, Site, TokenId, Tokenizer,
    TraceRead,
};

/// Vectors that are read in the vocabulary at a time.
const VECTORS_AT_ONCE: usize = 4096;

/// What a trace must hold for [`flow`].
///
/// # Errors
/// When the options name a block that the model does not have.
pub fn flow_capture(options: &FlowOptions, config: &Config) -> Result<Vec<Site>, RequestError> {
    let backward = block::BACKWARD.into_iter().filter(|_| options.gradient);
    let of_block: Vec<_> = block::FORWARD.into_iter().chain(backward).collect();
    let blocks = options.blocks(config)?;
    let sites = blocks.iter().flat_map(|layer| of_block.iter().map(|site| Site::Block(Layer(*layer), *site)));
    Ok(sites.chain([Site::LnFInput]).collect())
}

/// The flow graph of one position of a trace, in the vocabulary of the model that made it.
///
/// ```no_run
/// use retrograd_lens::{FlowOptions, flow};
/// # fn example(trace: &dyn retrograd_formats::TraceRead, model: &dyn retrograd_formats::ParameterRead) -> Result<(), retrograd_formats::RequestError> {
/// let report = flow(trace, model, &FlowOptions { layers: Some(vec![2]), ..FlowOptions::default() }, None)?;
/// let strongest = report.links.iter().max_by(|a, b| a.weight.total_cmp(&b.weight));
/// println!("{} nodes, {strongest:?}", report.nodes.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the model has no such block or the prompt no such position, when a tensor was not captured (see
/// [`flow_capture`]), when no token or more than there are would be named, and when the device fails.
pub fn flow(
    trace: &dyn TraceRead,
    model: &dyn ParameterRead,
    options: &FlowOptions,
    tokenizer: Option<&Tokenizer>,
) -> Result<FlowReport, RequestError> {
    let meta = trace.meta();
    let blocks = options.blocks(&meta.config)?;
    let position = options.position_in(meta.ids.len())?;
    let wanted = wanted_token(&meta.objective);
    let (answer, standing) = answer(trace, model, wanted)?;
    let named = |id: TokenId| TokenText::new(id, tokenizer);
    let mut report = FlowReport {
        schema: "retrograd-flow/1",
        model: meta.model.clone(),
        tokens: token_texts(&meta.ids, tokenizer),
        position,
        layers: blocks.clone(),
        answer: Prediction { token: named(answer.0), probability: answer.1 },
        target: wanted.zip(standing).map(|(id, standing)| TargetPrediction {
            token: named(id),
            probability: standing.probability,
            rank: standing.rank,
        }),
        loss: trace.loss()?,
        normalized: options.normalize,
        counts: options.counts,
        factors: options.factors,
        nodes: Vec::new(),
        links: Vec::new(),
    };
    let mut reader = Reader { model, options, wanted, tokenizer, vectors: Vec::new(), nodes: Vec::new() };
    for &layer in &blocks {
        let part = block::block(trace, model, options, layer, position)?;
        let first = report.nodes.len();
        if let Some(previous) = report.nodes.last().filter(|node| node.layer + 1 == layer) {
            report.links.push(FlowLink {
                source: previous.id.clone(),
                target: part.nodes[0].id.clone(),
                kind: LinkKind::Stream,
                weight: previous.norm,
                attention: None,
                reversed: None,
            });
        }
        for (at, vector) in part.vectors.iter().enumerate() {
            reader.add(first + at, vector.as_deref());
        }
        report.nodes.extend(part.nodes);
        report.links.extend(part.links);
        if reader.nodes.len() >= VECTORS_AT_ONCE {
            reader.read(&mut report.nodes)?;
        }
    }
    reader.read(&mut report.nodes)?;
    layout::place(&mut report.nodes);
    Ok(report)
}

/// Gathers vectors and reads them in as few requests as the host's memory allows.
struct Reader<'a> {
    model: &'a dyn ParameterRead,
    options: &'a FlowOptions,
    wanted: Option<TokenId>,
    tokenizer: Option<&'a Tokenizer>,
    vectors: Vec<f32>,
    /// Whose they are.
    nodes: Vec<usize>,
}

impl Reader<'_> {
    fn add(&mut self, node: usize, vector: Option<&[f64]>) {
        if let Some(vector) = vector {
            self.vectors.extend(vector.iter().map(|&x| x as f32));
            self.nodes.push(node);
        }
    }

    fn read(&mut self, nodes: &mut [FlowNode]) -> Result<(), RequestError> {
        let width = self.model.config().n_embd;
        let vectors = HostTensor::f32([self.nodes.len(), width], std::mem::take(&mut self.vectors));
        let request = ProjectionRequest::new(vectors)
            .top(self.options.top)
            .normalize(self.options.normalize)
            .ranks_of(self.wanted.into_iter().collect());
        let list = |tokens: &[(TokenId, f64)]| -> Vec<Prediction> {
            let named = |&(id, probability): &(TokenId, f64)| Prediction {
                token: TokenText::new(id, self.tokenizer),
                probability,
            };
            tokens.iter().map(named).collect()
        };
        for (at, reading) in std::mem::take(&mut self.nodes).into_iter().zip(self.model.project(&request)?) {
            let node = &mut nodes[at];
            (node.top, node.bottom) = (list(&reading.top), list(&reading.bottom));
            let target = reading.tokens.first();
            node.target_rank = target.map(|target| target.rank);
            node.target_probability = target.map(|target| target.probability);
            node.entropy_bits = Some(reading.entropy / std::f64::consts::LN_2);
        }
        Ok(())
    }
}
