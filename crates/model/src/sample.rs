//! From logits to the next token.

use crate::ModelError;
use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};
use retrograd_formats::TokenId;

/// How the next token is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Divides the logits; 0 always takes the most probable token.
    pub temperature: f32,
    /// Draws among the k most probable only.
    pub top_k: Option<usize>,
    /// Draws among the fewest tokens whose probabilities reach p together.
    pub top_p: Option<f32>,
    /// Same seed, same tokens on the same adapter.
    pub seed: u64,
}

impl Default for SamplingOptions {
    /// Greedy.
    fn default() -> Self {
        SamplingOptions { temperature: 0.0, top_k: None, top_p: None, seed: 0 }
    }
}

/// Draws tokens, one after the other.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplingOptions,
    random: Pcg64,
}

impl Sampler {
    /// Checks the options.
    pub fn new(options: SamplingOptions) -> Result<Sampler, ModelError> {
        if !options.temperature.is_finite() || options.temperature < 0.0 {
            return Err(ModelError::invalid("temperature", "must be 0 (greedy) or a positive number"));
        }
        if options.top_k == Some(0) {
            return Err(ModelError::invalid("top-k", "must be at least 1"));
        }
        if options.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            return Err(ModelError::invalid("top-p", "must be above 0 and at most 1"));
        }
        Ok(Sampler { options, random: Pcg64::seed_from_u64(options.seed) })
    }

    /// The next token for these logits. Among equal logits the lowest id counts as the most probable.
    pub fn next(&mut self, logits: &[f32]) -> TokenId {
        if self.options.temperature == 0.0 {
            return argmax(logits);
        }
        let temperature = f64::from(self.options.temperature);
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let descending =
            |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let k = self.options.top_k.unwrap_or(logits.len()).min(logits.len());
        if k < order.len() {
            order.select_nth_unstable_by(k - 1, descending);
            order.truncate(k);
        }
        order.sort_unstable_by(descending);
        let largest = f64::from(logits[order[0] as usize]);
        let weights: Vec<f64> = order
            .iter()
            .map(|&id| ((f64::from(logits[id as usize]) - largest) / temperature).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let nucleus = f64::from(self.options.top_p.unwrap_or(1.0)) * total;
        let mut kept = 0;
        let mut mass = 0.0;
        while kept < weights.len() && (kept == 0 || mass < nucleus) {
            mass += weights[kept];
            kept += 1;
        }
        // 53 random bits make a uniform number in [0, 1).
        let uniform = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut left = uniform * mass;
        for (weight, id) in weights[..kept].iter().zip(&order) {
            left -= weight;
            if left < 0.0 {
                return TokenId(*id);
            }
        }
        TokenId(order[kept - 1])
    }
}

fn argmax(logits: &[f32]) -> TokenId {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    TokenId(best as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(options: SamplingOptions, logits: &[f32], count: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(options).unwrap();
        (0..count).map(|_| sampler.next(logits).0).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(draw(SamplingOptions::default(), &[0.0, 2.0, 2.0, -1.0], 3), [1, 1, 1]);
    }

    #[test]
    fn top_k_and_top_p_bound_the_choice_and_the_seed_fixes_it() {
        let logits = [1.0, 3.0, 2.0, 0.0];
        let options = SamplingOptions { temperature: 1.0, top_k: Some(2), top_p: None, seed: 7 };
        let drawn = draw(options, &logits, 200);
        assert!(drawn.iter().all(|id| [1, 2].contains(id)));
        assert!(drawn.contains(&1) && drawn.contains(&2));
        assert_eq!(drawn, draw(options, &logits, 200));
        // p(1) = 0.64, p(2) = 0.24: a nucleus of 0.5 is token 1 alone, of 0.7 tokens 1 and 2.
        let nucleus = |p| SamplingOptions { temperature: 1.0, top_k: None, top_p: Some(p), seed: 1 };
        assert!(draw(nucleus(0.5), &logits, 100).iter().all(|id| *id == 1));
        assert!(draw(nucleus(0.7), &logits, 200).iter().all(|id| [1, 2].contains(id)));
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0, 1.0_f32.ln() + 1.0];
        let options = SamplingOptions { temperature: 1.0, top_k: None, top_p: None, seed: 3 };
        let ones = draw(options, &logits, 20_000).iter().sum::<u32>() as f64 / 20_000.0;
        let expected = 1.0 / (1.0 + (-1.0_f64).exp());
        assert!((ones - expected).abs() < 0.01, "{ones} against {expected}");
    }

    #[test]
    fn wrong_options_are_refused() {
        let bad = |options| Sampler::new(options).is_err();
        let base = SamplingOptions::default();
        assert!(bad(SamplingOptions { temperature: f32::NAN, ..base }));
        assert!(bad(SamplingOptions { temperature: -1.0, ..base }));
        assert!(bad(SamplingOptions { top_k: Some(0), ..base }));
        assert!(bad(SamplingOptions { top_p: Some(0.0), ..base }));
        assert!(bad(SamplingOptions { top_p: Some(1.5), ..base }));
    }
}
