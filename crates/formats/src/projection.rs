//! Vectors read in the vocabulary: what is asked, what is answered, whoever computes it.

use crate::{Config, HostTensor, RequestError, TokenId};

/// Vectors of the model's width that are to be read as tokens: `p = softmax(ln_f(v)·Eᵀ)`, E the unembedding,
/// ln_f with its bias and epsilon (the logit lens; Backward Lens, Katz et al., EMNLP 2024, section 3).
///
/// ```
/// use retrograd_formats::{HostTensor, ProjectionRequest, TokenId};
/// let vectors = HostTensor::f32([2, 3], vec![0.1, -0.2, 0.3, 0.0, 0.0, 0.0]);
/// let request = ProjectionRequest::new(vectors).top(5).ranks_of(vec![TokenId(7)]).normalize(true);
/// # let _ = request;
/// ```
#[derive(Clone, Debug)]
pub struct ProjectionRequest {
    /// `[rows, D]` f32.
    pub vectors: HostTensor,
    /// Divides each vector by its norm first; a zero vector stays what it is.
    pub normalize: bool,
    /// How many of the most and of the least probable tokens are named.
    pub top: usize,
    /// Tokens whose probability and rank are wanted for every vector.
    pub tokens: Vec<TokenId>,
}

impl ProjectionRequest {
    /// The five most and least probable tokens of each of the vectors `[rows, D]`, as they are.
    pub fn new(vectors: HostTensor) -> Self {
        ProjectionRequest { vectors, normalize: false, top: 5, tokens: Vec::new() }
    }

    /// Whether each vector is divided by its norm first.
    pub fn normalize(self, normalize: bool) -> Self {
        ProjectionRequest { normalize, ..self }
    }

    /// How many of the most and of the least probable tokens are named.
    pub fn top(self, top: usize) -> Self {
        ProjectionRequest { top, ..self }
    }

    /// Tokens whose probability and rank are wanted.
    pub fn ranks_of(self, tokens: Vec<TokenId>) -> Self {
        ProjectionRequest { tokens, ..self }
    }

    /// Number of vectors.
    pub fn rows(&self) -> usize {
        self.vectors.shape.first().copied().unwrap_or(0)
    }

    /// Checks the request against the model.
    ///
    /// # Errors
    /// When the vectors are not `[rows, D]` or not finite, when no token or more tokens than there are would be
    /// named, and when a token is outside the vocabulary.
    pub fn check(&self, config: &Config) -> Result<(), RequestError> {
        let (width, vocabulary) = (config.n_embd, config.vocab_size);
        let shape = &self.vectors.shape;
        if shape.len() != 2 || shape[1] != width || self.vectors.as_f32().len() != shape[0] * width {
            return Err(RequestError::invalid(
                "vectors",
                format!(
                    "have shape {shape:?}; what is read in the vocabulary has the model's width of {width}"
                ),
            ));
        }
        if let Some(at) = self.vectors.as_f32().iter().position(|value| !value.is_finite()) {
            let reason = format!("element {} of vector {} is not finite", at % width, at / width);
            return Err(RequestError::invalid("vectors", reason));
        }
        if self.top == 0 || self.top > vocabulary {
            let reason = format!("{} tokens; the model's vocabulary allows 1 to {vocabulary}", self.top);
            return Err(RequestError::invalid("--top", reason));
        }
        match self.tokens.iter().find(|token| token.0 as usize >= vocabulary) {
            Some(token) => Err(RequestError::invalid(
                "token",
                format!("id {token} is outside the vocabulary of {vocabulary}"),
            )),
            None => Ok(()),
        }
    }
}

/// One vector read in the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The most probable tokens with their probabilities, the most probable first; of equals the lower id first.
    pub top: Vec<(TokenId, f64)>,
    /// The least probable tokens, the least probable first; of equals the lower id first. For a backward signal
    /// δ these are what a step down the loss writes.
    pub bottom: Vec<(TokenId, f64)>,
    /// What was asked about, in the order of the request.
    pub tokens: Vec<TokenStanding>,
    /// −Σ p·log p, in nats.
    pub entropy: f64,
}

/// Where a token stands among all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenStanding {
    /// Its probability.
    pub probability: f64,
    /// How many tokens have a strictly larger one: 0 is the most probable.
    pub rank: usize,
}

/// What can read vectors in a model's vocabulary: the model on a device, or the f64 oracle.
pub trait Project {
    /// The model's shape.
    fn config(&self) -> &Config;

    /// One reading for each vector, in their order.
    ///
    /// # Errors
    /// When the request does not fit the model, or the device fails.
    fn project(&self, request: &ProjectionRequest) -> Result<Vec<Projection>, RequestError>;
}
