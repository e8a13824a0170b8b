//! Vectors read in the vocabulary.
//!
//! ```text
//! y = LNf(v), or LNf(v/‖v‖)      p = softmax(y·Wheadᵀ)
//! ```

use crate::ReferenceModel;
use crate::head::head_forward;
use crate::ops::vocabulary_summary;
use retrograd_formats::{
    Config, HostTensor, ParameterRead, Project, Projection, ProjectionRequest, RequestError, TokenId,
    TokenStanding, Weights,
};

impl Project for ReferenceModel {
    fn config(&self) -> &Config {
        ReferenceModel::config(self)
    }

    fn project(&self, request: &ProjectionRequest) -> Result<Vec<Projection>, RequestError> {
        let config = ReferenceModel::config(self);
        request.check(config)?;
        let tokens: Vec<usize> = request.tokens.iter().map(|token| token.0 as usize).collect();
        let head = self.named().head(config);
        let read = |v: &[f32]| {
            let mut v: Vec<f64> = v.iter().copied().map(f64::from).collect(); // (D)
            let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
            if request.normalize && norm > 0.0 {
                v.iter_mut().for_each(|v| *v /= norm);
            }
            let (_, logits) = head_forward(&head, &v, 1); // (V)
            let summary = vocabulary_summary(&logits, request.top, &tokens);
            let probability = |token: usize| (logits[token] - summary.log_sum_exp).exp();
            let named = |ids: &[usize]| ids.iter().map(|&id| (TokenId(id as u32), probability(id))).collect();
            Projection {
                top: named(&summary.top),
                bottom: named(&summary.bottom),
                tokens: tokens
                    .iter()
                    .zip(&summary.ranks)
                    .map(|(&token, &rank)| TokenStanding { probability: probability(token), rank })
                    .collect(),
                entropy: summary.entropy,
            }
        };
        Ok(request.vectors.as_f32().chunks_exact(config.n_embd).map(read).collect())
    }
}

impl ParameterRead for ReferenceModel {
    fn parameter(&self, name: &str) -> Result<HostTensor, RequestError> {
        let Some(values) = self.parameters().get(name) else {
            return Err(RequestError::invalid(name, "is not a parameter of the model"));
        };
        let shape = Weights::parameter_shape(ReferenceModel::config(self), name);
        Ok(HostTensor::f32(shape, values.iter().map(|&value| value as f32).collect()))
    }
}
