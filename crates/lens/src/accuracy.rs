//! How often the target is among the first answers.

use retrograd_formats::TokenId;
use serde::{Deserialize, Serialize};

/// Shares of prompts whose target is the first, among the first two, among the first three tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The target is the most probable token.
    pub top1: f64,
    /// It is one of the two most probable.
    pub top2: f64,
    /// It is one of the three most probable.
    pub top3: f64,
}

/// Counts on the way to an [`Accuracy`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    prompts: usize,
    within: [usize; 3],
}

impl Tally {
    /// Counts the logits `[V]` after a prompt; logits that are not finite answer nothing.
    pub(crate) fn add(&mut self, logits: &[f32], target: TokenId) {
        self.prompts += 1;
        let Some(own) =
            logits.get(target.0 as usize).filter(|_| logits.iter().all(|logit| logit.is_finite()))
        else {
            return;
        };
        let rank = logits.iter().filter(|logit| *logit > own).count();
        for (k, within) in self.within.iter_mut().enumerate() {
            *within += usize::from(rank <= k);
        }
    }

    pub(crate) fn accuracy(&self) -> Accuracy {
        let share = |count: usize| count as f64 / self.prompts.max(1) as f64;
        Accuracy { top1: share(self.within[0]), top2: share(self.within[1]), top3: share(self.within[2]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_strictly_larger_logits() {
        let mut tally = Tally::default();
        tally.add(&[1.0, 3.0, 3.0, 0.0], TokenId(2));
        tally.add(&[1.0, 3.0, 3.0, 0.0], TokenId(0));
        tally.add(&[1.0, f32::NAN, 3.0, 0.0], TokenId(2));
        tally.add(&[1.0, 2.0, 3.0, 0.0], TokenId(1));
        assert_eq!(tally.accuracy(), Accuracy { top1: 0.25, top2: 0.5, top3: 0.75 });
    }
}
