//! Vectors read in the vocabulary, without ever holding their logits: the vocabulary comes in pieces, the
//! vectors in chunks, and of a piece of logits only what was asked about it leaves the device.
//!
//! ```text
//! y = ln_f(v), or ln_f(v/‖v‖)      logits = y·Eᵀ   (E: wte, or lm_head where untied)
//! p = softmax(logits): the first and the last K tokens, p and rank of given tokens, entropy
//! ```

use crate::ModelError;
use crate::gpt2::Gpt2;
use retrograd_formats::{
    Config, Project, Projection, ProjectionRequest, RequestError, TokenId, TokenStanding,
};
use retrograd_gpu::ops::{self, Gemm, Matrix, NO_TOKEN, RankedTokens, VocabRange, VocabularySummary};
use retrograd_gpu::{Dtype, Gpu, HostData, Pass, Recorder, Tensor};

/// Vectors that are read at a time: enough that the embedding is fetched rarely, few enough that a piece of
/// their logits is read while the cache has it.
const CHUNK_ROWS: usize = 512;
/// Bytes of logits at a time.
const LOGIT_BYTES: usize = 16 << 20;
/// Tokens of a piece at most: a row-wise kernel goes through one in a loop.
const PIECE_TOKENS: usize = 1 << 15;

/// Rows of one range of the unembedding.
#[derive(Clone, Copy, Debug)]
struct Piece {
    range: usize,
    first_row: usize,
    count: usize,
}

/// What one chunk of vectors needs on the device.
struct Reader {
    rows: usize,
    pieces: usize,
    top: usize,
    vectors: Tensor,        // v (rows, D)
    given: Option<Tensor>,  // logits of the given tokens (rows, tokens)
    larger: Option<Tensor>, // (rows, pieces, tokens) u32
    stats: Tensor,          // m, Σ e^(x−m), Σ e^(x−m)·(x−m) (rows, pieces, 3)
    values: Tensor,         // first and last logits (rows, pieces, 2, top)
    ids: Tensor,            // their tokens, u32
    pass: Pass,
}

impl Gpt2 {
    /// Reads vectors of the model's width in its vocabulary: `p = softmax(ln_f(v)·Eᵀ)`.
    ///
    /// All vectors go through one batched product with the unembedding; on the device there are never more than
    /// 16 MiB of logits, and none of them are copied to the host. Errors are those of rounding to f32.
    ///
    /// ```no_run
    /// use retrograd_formats::{HostTensor, ProjectionRequest};
    /// # use retrograd_model::{Gpt2, Precision};
    /// # let gpu = retrograd_gpu::Gpu::open(&Default::default())?;
    /// # let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    /// let zero = HostTensor::f32([1, 128], vec![0.0; 128]);
    /// let readings = model.project(&ProjectionRequest::new(zero).top(3))?; // what ln_f.bias reads as
    /// println!("{:?}", readings[0].top);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the request does not fit the model, or the device fails.
    pub fn project(&self, request: &ProjectionRequest) -> Result<Vec<Projection>, ModelError> {
        request.check(self.config())?;
        let width = self.config().n_embd;
        let vectors = match request.normalize {
            true => normalized(request.vectors.as_f32(), width).into(),
            false => std::borrow::Cow::Borrowed(request.vectors.as_f32()),
        };
        let mut readings = Vec::with_capacity(request.rows());
        let mut reader: Option<Reader> = None;
        for chunk in vectors.chunks(CHUNK_ROWS * width) {
            let rows = chunk.len() / width;
            let fitting = reader.take().filter(|reader| reader.rows == rows);
            let fitting = match fitting {
                Some(reader) => reader,
                None => Reader::new(self, rows, request)?,
            };
            fitting.read(self.gpu(), chunk, request.tokens.len(), &mut readings)?;
            reader = Some(fitting);
        }
        Ok(readings)
    }
}

impl Project for Gpt2 {
    fn config(&self) -> &Config {
        Gpt2::config(self)
    }

    fn project(&self, request: &ProjectionRequest) -> Result<Vec<Projection>, RequestError> {
        Gpt2::project(self, request).map_err(|error| match error {
            ModelError::Request(error) => error,
            error => RequestError::invalid("reading vectors in the vocabulary", error.to_string()),
        })
    }
}

/// Each vector divided by its norm, which is taken in f64.
fn normalized(vectors: &[f32], width: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(vectors.len());
    for vector in vectors.chunks_exact(width) {
        let norm = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        let divisor = if norm > 0.0 { norm } else { 1.0 };
        out.extend(vector.iter().map(|&v| (f64::from(v) / divisor) as f32));
    }
    out
}

/// Cuts the unembedding so that so many rows of a piece's logits stay within [`LOGIT_BYTES`]; all but the last
/// few tokens of a range go in fours, which kernels load at once.
fn cut(ranges: &[VocabRange], rows: usize) -> Vec<Piece> {
    let most = (LOGIT_BYTES / (4 * rows.max(1)) / 4 * 4).clamp(4, PIECE_TOKENS);
    let mut pieces = Vec::new();
    for (range, vocabulary) in ranges.iter().enumerate() {
        let whole = vocabulary.count() / 4 * 4;
        // Even parts: no short piece that costs as much to start as a long one.
        let part = whole.div_ceil(4).div_ceil(whole.div_ceil(most).max(1)) * 4;
        for first_row in (0..whole).step_by(part.max(4)) {
            pieces.push(Piece { range, first_row, count: part.min(whole - first_row) });
        }
        if whole < vocabulary.count() {
            pieces.push(Piece { range, first_row: whole, count: vocabulary.count() - whole });
        }
    }
    pieces
}

impl Reader {
    fn new(model: &Gpt2, rows: usize, request: &ProjectionRequest) -> Result<Reader, ModelError> {
        let (gpu, config) = (model.gpu(), model.config());
        let (ranges, ln_f) = (model.0.parameters.head(), &model.0.parameters.ln_f);
        let cut = cut(ranges, rows);
        let (pieces, top, tokens) = (cut.len(), request.top, &request.tokens);
        let vectors = gpu.tensor([rows, config.n_embd])?;
        let normed = gpu.tensor([rows, config.n_embd])?; // y (rows, D)
        let stats = gpu.tensor([rows, pieces, 3])?;
        let values = gpu.tensor([rows, pieces, 2, top])?;
        let ids = gpu.allocate([rows, pieces, 2, top].into(), Dtype::U32)?;
        let mut recorder = Recorder::new(gpu);
        // y = ln_f(v)
        ops::layer_norm(
            &mut recorder,
            ops::LayerNorm {
                x: &vectors,
                x_row: 0,
                gamma: &ln_f.gamma,
                beta: &ln_f.beta,
                epsilon: config.layer_norm_epsilon as f32,
                y: &normed,
                stats: &gpu.tensor([rows, 2])?,
            },
        )?;
        // The given tokens' logits, by the same product: a rank compares them with the others.
        let (mut given, mut larger, mut wanted) = (None, None, None);
        if !tokens.is_empty() {
            let logits = gpu.tensor([rows, tokens.len()])?;
            for (column, token) in tokens.iter().enumerate() {
                let row = row_of(ranges, *token)?;
                ops::gemm(&mut recorder, Gemm::nt(&normed, row, Matrix::of(&logits).columns(column, 1)))?;
            }
            given = Some(logits);
            larger = Some(gpu.allocate([rows, pieces, tokens.len()].into(), Dtype::U32)?);
            let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
            wanted = Some(gpu.upload_u32([tokens.len()], &ids)?);
        }
        let ranked = match (&wanted, &given, &larger) {
            (Some(tokens), Some(logits), Some(larger)) => Some(RankedTokens { tokens, logits, larger }),
            _ => None,
        };
        // One piece after the other in the same memory.
        let longest = cut.iter().map(|piece| piece.count).max().unwrap_or(0);
        let memory = gpu.tensor([rows * longest])?;
        for (at, piece) in cut.iter().enumerate() {
            let range = &ranges[piece.range];
            let logits = memory.prefix([rows, piece.count]);
            // logits = y·Eᵀ
            let unembedding = Matrix::of(&range.rows).rows(piece.first_row, piece.count);
            ops::gemm(&mut recorder, Gemm::nt(&normed, unembedding, &logits))?;
            ops::vocabulary_summary(
                &mut recorder,
                VocabularySummary {
                    logits: &logits,
                    first: range.first + piece.first_row,
                    piece: (at, pieces),
                    ranked,
                    stats: &stats,
                    values: &values,
                    ids: &ids,
                },
            )?;
        }
        let pass = recorder.finish()?;
        Ok(Reader { rows, pieces, top, vectors, given, larger, stats, values, ids, pass })
    }

    /// Runs the pass on `vectors` (rows, D) and joins what its pieces say about each row.
    fn read(
        &self,
        gpu: &Gpu,
        vectors: &[f32],
        tokens: usize,
        readings: &mut Vec<Projection>,
    ) -> Result<(), ModelError> {
        gpu.write(&self.vectors, vectors)?;
        gpu.run(&self.pass)?;
        let mut wanted = vec![&self.stats, &self.values, &self.ids];
        wanted.extend(self.given.iter().chain(&self.larger));
        let mut read = gpu.read_many(&wanted)?.into_iter();
        let mut f32s = || match read.next() {
            Some(HostData::F32(values)) => (values, Vec::new()),
            Some(HostData::U32(values)) => (Vec::new(), values),
            None => (Vec::new(), Vec::new()),
        };
        let ((stats, _), (values, _), (_, ids)) = (f32s(), f32s(), f32s());
        let ((given, _), (_, larger)) = (f32s(), f32s());
        for row in 0..self.rows {
            let of_row = |width: usize| row * self.pieces * width..(row + 1) * self.pieces * width;
            let listed = of_row(2 * self.top);
            readings.push(join(
                &stats[of_row(3)],
                (&values[listed.clone()], &ids[listed], self.top),
                &given[row * tokens..(row + 1) * tokens],
                &larger[of_row(tokens)],
            ));
        }
        Ok(())
    }
}

/// The row of the unembedding that belongs to a token.
fn row_of(ranges: &[VocabRange], token: TokenId) -> Result<Matrix<'_>, ModelError> {
    let token = token.0 as usize;
    ranges
        .iter()
        .find(|range| (range.first..range.first + range.count()).contains(&token))
        .map(|range| Matrix::of(&range.rows).rows(token - range.first, 1))
        .ok_or_else(|| ModelError::invalid("token", format!("id {token} is outside the vocabulary")))
}

/// One row's reading from the statistics (pieces, 3), lists (pieces, 2, top), given logits (tokens) and counts
/// (pieces, tokens) of its pieces.
fn join(
    stats: &[f32],
    (values, ids, top): (&[f32], &[u32], usize),
    given: &[f32],
    larger: &[u32],
) -> Projection {
    let part = |part: &[f32]| [0, 1, 2].map(|at| f64::from(part[at]));
    let m = stats.chunks_exact(3).fold(f64::NEG_INFINITY, |m, piece| m.max(part(piece)[0]));
    let (mut s, mut h) = (0.0, 0.0);
    for [piece_m, piece_s, piece_h] in stats.chunks_exact(3).map(part) {
        let shrink = (piece_m - m).exp();
        s += piece_s * shrink;
        h += (piece_h + piece_s * (piece_m - m)) * shrink;
    }
    let log_sum = s.ln();
    let probability = |logit: f32| (f64::from(logit) - m - log_sum).exp();
    let list = |half: usize| {
        let pieces = values.chunks_exact(2 * top).zip(ids.chunks_exact(2 * top));
        let half = half * top..(half + 1) * top;
        let mut list: Vec<(f32, u32)> = pieces
            .flat_map(|(values, ids)| {
                values[half.clone()].iter().copied().zip(ids[half.clone()].iter().copied())
            })
            .filter(|(_, id)| *id != NO_TOKEN)
            .collect();
        let ascending = half.start > 0;
        list.sort_by(|(a, a_id), (b, b_id)| {
            let order = if ascending { a.total_cmp(b) } else { b.total_cmp(a) };
            order.then(a_id.cmp(b_id))
        });
        list.truncate(top);
        list.into_iter().map(|(logit, id)| (TokenId(id), probability(logit))).collect()
    };
    let standing = |(at, &logit): (usize, &f32)| TokenStanding {
        probability: probability(logit),
        rank: larger.iter().skip(at).step_by(given.len()).map(|&count| count as usize).sum(),
    };
    Projection {
        top: list(0),
        bottom: list(1),
        tokens: given.iter().enumerate().map(standing).collect(),
        // −Σ p·log p with p = e^(x−m)/s; rounding can take it just below zero.
        entropy: (log_sum - h / s).max(0.0),
    }
}
