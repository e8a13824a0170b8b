//! From a row of logits to probabilities and ranks.

use crate::TokenText;
use retrograd_formats::{RequestError, Site, TokenId, Tokenizer, TraceRead};
use serde::Serialize;

/// A token and its probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The token.
    #[serde(flatten)]
    pub token: TokenText,
    /// softmax(logits) of it.
    pub probability: f64,
}

/// A token that an objective names, with its probability and rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetPrediction {
    /// The token.
    #[serde(flatten)]
    pub token: TokenText,
    /// softmax(logits) of it.
    pub probability: f64,
    /// Number of tokens that are strictly more probable: 0 is the most probable.
    pub rank: usize,
}

/// The most probable token after the last position that carries loss; of equals the one with the lowest id.
///
/// # Errors
/// When the trace holds no logits.
pub fn answer_token(trace: &dyn TraceRead) -> Result<TokenId, RequestError> {
    let logits = trace.read(Site::Logits)?; // [P, V]
    let vocabulary = trace.meta().config.vocab_size;
    let row = logits.as_f32().chunks_exact(vocabulary).next_back().unwrap_or_default();
    let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
    Ok(TokenId(best.unwrap_or(0) as u32))
}

/// One row of logits `[V]` with the softmax's denominator.
pub(crate) struct Distribution<'a> {
    logits: &'a [f32],
    largest: f64,
    /// log Σ exp(logit − largest)
    log_sum: f64,
}

impl<'a> Distribution<'a> {
    pub(crate) fn new(logits: &'a [f32]) -> Self {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
        Distribution { logits, largest, log_sum: sum.ln() }
    }

    fn probability(&self, id: usize) -> f64 {
        (f64::from(self.logits[id]) - self.largest - self.log_sum).exp()
    }

    /// The `count` most probable tokens; among equals the lowest id first.
    pub(crate) fn top(&self, count: usize, tokenizer: Option<&Tokenizer>) -> Vec<Prediction> {
        let descending =
            |a: &u32, b: &u32| self.logits[*b as usize].total_cmp(&self.logits[*a as usize]).then(a.cmp(b));
        let mut order: Vec<u32> = (0..self.logits.len() as u32).collect();
        let count = count.min(order.len());
        if count == 0 {
            return Vec::new();
        }
        if count < order.len() {
            order.select_nth_unstable_by(count - 1, descending);
            order.truncate(count);
        }
        order.sort_unstable_by(descending);
        order
            .into_iter()
            .map(|id| Prediction {
                token: TokenText::new(TokenId(id), tokenizer),
                probability: self.probability(id as usize),
            })
            .collect()
    }

    pub(crate) fn target(&self, id: TokenId, tokenizer: Option<&Tokenizer>) -> TargetPrediction {
        let logit = self.logits[id.0 as usize];
        TargetPrediction {
            token: TokenText::new(id, tokenizer),
            probability: self.probability(id.0 as usize),
            rank: self.logits.iter().filter(|&&other| other > logit).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_ranks_and_ties() {
        let logits = [1.0, 3.0, 3.0, -2.0];
        let row = Distribution::new(&logits);
        let total: f64 = (0..4).map(|id| row.probability(id)).sum();
        assert!((total - 1.0).abs() < 1e-12);
        let top = row.top(3, None);
        assert_eq!(top.iter().map(|p| p.token.id).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(row.target(TokenId(2), None).rank, 0);
        assert_eq!(row.target(TokenId(0), None).rank, 2);
        assert_eq!(row.top(9, None).len(), 4);
        assert!(row.top(0, None).is_empty());
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let logits = [1e30, 0.0];
        assert_eq!(Distribution::new(&logits).target(TokenId(0), None).probability, 1.0);
    }
}
