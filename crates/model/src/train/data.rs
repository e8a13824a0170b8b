//! The tokens of a training text, cut into windows.

use super::options::Order;
use crate::ModelError;
use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng, SeedableRng};
use retrograd_formats::{FormatError, TokenId, Tokenizer};
use std::path::Path;

/// A tokenised text. A step's inputs are windows of T tokens, its targets the same shifted by one.
#[derive(Clone, Debug)]
pub struct Dataset {
    tokens: Vec<u32>,
}

/// Windows seen so far of a [`Dataset`]: the order of the current epoch.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    order: Order,
    seed: u64,
    context: usize,
    count: u64,
    epoch: Option<(u64, Vec<u32>)>,
}

impl Dataset {
    /// Token ids, one text after the other.
    pub fn from_ids(tokens: Vec<u32>) -> Dataset {
        Dataset { tokens }
    }

    /// Tokenises text files, in the order given.
    pub fn from_files(files: &[impl AsRef<Path>], tokenizer: &Tokenizer) -> Result<Dataset, ModelError> {
        let mut tokens = Vec::new();
        for file in files {
            let path = file.as_ref();
            let bytes = std::fs::read(path).map_err(|error| FormatError::io(path, error))?;
            let text = String::from_utf8(bytes).map_err(|error| {
                let at = error.utf8_error().valid_up_to();
                FormatError::malformed(path, format!("is not UTF-8 text: byte {at} is wrong"))
            })?;
            tokens.extend(tokenizer.encode(&text)?.into_iter().map(|TokenId(id)| id));
        }
        Ok(Dataset { tokens })
    }

    /// The tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// FNV-1a of the tokens: a resumed training must see the text that it began with.
    pub(crate) fn digest(&self) -> u64 {
        self.tokens
            .iter()
            .flat_map(|token| token.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Checks that every token is in the vocabulary.
    pub(crate) fn check(&self, vocab_size: usize) -> Result<(), ModelError> {
        match self.tokens.iter().position(|token| *token as usize >= vocab_size) {
            None => Ok(()),
            Some(at) => Err(ModelError::invalid(
                "text",
                format!(
                    "token {} at {at} is outside the model's vocabulary of {vocab_size}: the tokenizer is another model's",
                    self.tokens[at]
                ),
            )),
        }
    }

    /// Inputs and targets of window `index`.
    pub(crate) fn window(&self, index: usize, context: usize) -> (&[u32], &[u32]) {
        let start = index * context;
        (&self.tokens[start..start + context], &self.tokens[start + 1..start + context + 1])
    }

    /// Whole windows of T tokens that have a next token each.
    pub(crate) fn window_count(&self, context: usize) -> usize {
        self.tokens.len().saturating_sub(1) / context
    }
}

impl Windows {
    pub(crate) fn new(
        dataset: &Dataset,
        order: Order,
        seed: u64,
        context: usize,
    ) -> Result<Windows, ModelError> {
        let count = dataset.window_count(context) as u64;
        if count == 0 {
            return Err(ModelError::invalid(
                "text",
                format!("has {} tokens; one window needs {}", dataset.tokens.len(), context + 1),
            ));
        }
        Ok(Windows { order, seed, context, count, epoch: None })
    }

    /// Writes inputs and targets of the sequences `first .. first + batch` of the whole training.
    pub(crate) fn fill(
        &mut self,
        dataset: &Dataset,
        first: u64,
        batch: usize,
        inputs: &mut Vec<u32>,
        targets: &mut Vec<u32>,
    ) {
        inputs.clear();
        targets.clear();
        for sequence in first..first + batch as u64 {
            let index = self.index(sequence);
            let (x, y) = dataset.window(index, self.context);
            inputs.extend_from_slice(x);
            targets.extend_from_slice(y);
        }
    }

    fn index(&mut self, sequence: u64) -> usize {
        let (epoch, at) = (sequence / self.count, (sequence % self.count) as usize);
        if self.order == Order::Sequential {
            return at;
        }
        if self.epoch.as_ref().is_none_or(|(have, _)| *have != epoch) {
            self.epoch = Some((epoch, permutation(self.count as u32, self.seed, epoch)));
        }
        self.epoch.as_ref().map_or(at, |(_, order)| order[at] as usize)
    }
}

/// A permutation of `0..count` drawn from seed and epoch (Fisher and Yates).
fn permutation(count: u32, seed: u64, epoch: u64) -> Vec<u32> {
    // Streams of one generator are independent; odd increments are made of the epoch inside.
    let mut random = Pcg64::new(u128::from(seed) << 64 | 0x5eed, u128::from(epoch));
    let mut order: Vec<u32> = (0..count).collect();
    for i in (1..order.len()).rev() {
        // The bias of a 64-bit remainder is below 2⁻³² for any list that fits in memory.
        order.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
    }
    order
}

/// A generator for the initial weights.
pub(super) fn generator(seed: u64) -> Pcg64 {
    Pcg64::seed_from_u64(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> Dataset {
        Dataset::from_ids((0..41).collect())
    }

    #[test]
    fn sequential_windows_follow_the_text_and_start_over() {
        let data = dataset();
        let mut windows = Windows::new(&data, Order::Sequential, 0, 4).unwrap();
        let (mut x, mut y) = (Vec::new(), Vec::new());
        windows.fill(&data, 2, 2, &mut x, &mut y);
        assert_eq!(x, [8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(y, [9, 10, 11, 12, 13, 14, 15, 16]);
        windows.fill(&data, 10, 1, &mut x, &mut y);
        assert_eq!(x, [0, 1, 2, 3]);
    }

    #[test]
    fn an_epoch_sees_every_window_once_in_an_order_that_only_the_seed_decides() {
        let data = dataset();
        let epoch = |seed, first| {
            let mut windows = Windows::new(&data, Order::Shuffled, seed, 4).unwrap();
            let (mut x, mut y) = (Vec::new(), Vec::new());
            windows.fill(&data, first, 10, &mut x, &mut y);
            x
        };
        let first = epoch(1, 0);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..40).collect::<Vec<_>>());
        assert_ne!(first, sorted);
        assert_eq!(first, epoch(1, 0));
        assert_ne!(first, epoch(1, 10));
        assert_ne!(first, epoch(2, 0));
    }

    #[test]
    fn a_text_shorter_than_a_window_is_refused() {
        assert!(Windows::new(&Dataset::from_ids(vec![1, 2, 3, 4]), Order::Sequential, 0, 4).is_err());
    }
}
