//! How a model is trained.

use crate::{ModelError, Precision};
use serde::{Deserialize, Serialize};

/// Learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Half a cosine, from the peak to 0 at the last step.
    Cosine,
    /// The peak throughout.
    Constant,
}

/// Which tokens a step sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Every window of T tokens once per epoch, in an order drawn from the seed.
    Shuffled,
    /// Step s, row b sees the tokens from `(s·B + b)·T` on, starting over at the end.
    Sequential,
}

/// How a model is trained. The defaults suit a small model from scratch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Optimiser steps.
    pub steps: u64,
    /// Sequences a step (B).
    pub batch: usize,
    /// Tokens of a sequence (T).
    pub context: usize,
    /// Peak learning rate.
    pub lr: f32,
    /// Schedule after the warm-up.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises linearly to its peak.
    pub warmup: u64,
    /// AdamW's weight decay, applied to tensors of two or more dimensions.
    pub weight_decay: f32,
    /// Applies the decay to biases and norms too.
    pub decay_all: bool,
    /// AdamW's β₁ and β₂.
    pub betas: (f32, f32),
    /// AdamW's ε.
    pub epsilon: f32,
    /// Gradients are scaled down to this global norm; 0 leaves them.
    pub clip: f32,
    /// Which tokens a step sees.
    pub order: Order,
    /// Seed of the initial weights and of the order.
    pub seed: u64,
    /// Element type of the saved model; the training itself is in f32.
    pub precision: Precision,
}

impl Default for TrainOptions {
    fn default() -> Self {
        TrainOptions {
            steps: 1000,
            batch: 16,
            context: 128,
            lr: 1e-3,
            schedule: Schedule::Cosine,
            warmup: 100,
            weight_decay: 0.1,
            decay_all: false,
            betas: (0.9, 0.95),
            epsilon: 1e-8,
            clip: 1.0,
            order: Order::Shuffled,
            seed: 0,
            precision: Precision::F32,
        }
    }
}

impl TrainOptions {
    /// The learning rate of a step, counted from 0.
    ///
    /// `lr·(s + 1)/warmup` while s < warmup; then `lr`, or `lr·½(1 + cos(π·(s − warmup)/(steps − warmup)))`.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let peak = f64::from(self.lr);
        if step < self.warmup {
            return peak * (step + 1) as f64 / self.warmup as f64;
        }
        match self.schedule {
            Schedule::Constant => peak,
            Schedule::Cosine => {
                let progress =
                    (step - self.warmup) as f64 / (self.steps.max(self.warmup + 1) - self.warmup) as f64;
                peak * 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())
            }
        }
    }

    /// Names the first option that cannot be.
    pub(crate) fn check(&self, n_positions: usize) -> Result<(), ModelError> {
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let fraction = |x: f32| (0.0..1.0).contains(&x);
        let wrong = if self.steps == 0 {
            ("steps", "must be at least 1".to_owned())
        } else if self.batch == 0 {
            ("batch", "must be at least 1".to_owned())
        } else if self.context == 0 || self.context > n_positions {
            (
                "context",
                format!("must be 1 to the model's n_positions of {n_positions}, not {}", self.context),
            )
        } else if !positive(self.lr) {
            ("lr", "must be a positive number".to_owned())
        } else if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            ("weight-decay", "must be 0 or a positive number".to_owned())
        } else if !(self.clip.is_finite() && self.clip >= 0.0) {
            ("clip", "must be 0 (no clipping) or a positive number".to_owned())
        } else if !fraction(self.betas.0) || !fraction(self.betas.1) {
            ("betas", "must be at least 0 and below 1".to_owned())
        } else if !positive(self.epsilon) {
            ("eps", "must be a positive number".to_owned())
        } else if self.warmup > self.steps {
            ("warmup", format!("of {} steps is longer than the training of {}", self.warmup, self.steps))
        } else {
            return Ok(());
        };
        Err(ModelError::invalid(wrong.0, wrong.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_rises_peaks_and_falls_to_zero() {
        let options = TrainOptions { steps: 10, warmup: 3, lr: 1.0, ..TrainOptions::default() };
        let rates: Vec<f64> = (0..10).map(|step| options.learning_rate(step)).collect();
        approx::assert_relative_eq!(rates[0], 1.0 / 3.0);
        approx::assert_relative_eq!(rates[2], 1.0);
        approx::assert_relative_eq!(rates[3], 1.0);
        assert!(rates[3..].windows(2).all(|pair| pair[1] < pair[0]));
        approx::assert_relative_eq!(options.learning_rate(10), 0.0, epsilon = 1e-15);
    }

    #[test]
    fn impossible_options_are_named() {
        let named = |options: TrainOptions| options.check(64).unwrap_err().to_string();
        let base = || TrainOptions { context: 64, ..TrainOptions::default() };
        assert!(named(TrainOptions { context: 65, ..base() }).starts_with("context"));
        assert!(named(TrainOptions { lr: f32::NAN, ..base() }).starts_with("lr"));
        assert!(named(TrainOptions { steps: 0, ..base() }).starts_with("steps"));
        assert!(named(TrainOptions { betas: (0.9, 1.0), ..base() }).starts_with("betas"));
        assert!(base().check(64).is_ok());
    }
}
