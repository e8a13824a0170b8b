//! Tasks: what a model is shown as demonstrations and asked, as the in-context learning literature does it.
//!
//! ```text
//! <bos>Q: x₁\nA: y₁\n\n … Q: xₙ\nA: yₙ\n\nQ: q\nA:      → the first token of " y"
//! ```

mod prompt;
mod template;

pub use prompt::{PromptOptions, TaskPrompt, by_layout, prompts, shuffled_prompts};
pub use template::Template;

use rand_pcg::Pcg64;
use rand_pcg::rand_core::{Rng as _, SeedableRng as _};
use retrograd_formats::{FormatError, RequestError, TaskPair, TokenId, Tokenizer, read_task};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A task with its tokens.
#[derive(Clone, Debug)]
pub struct Task {
    /// The file's name without its ending.
    pub name: String,
    /// The pairs, in the order of the file.
    pub examples: Vec<Example>,
}

/// One pair of a task, as text and as tokens, each text with the blank before it.
#[derive(Clone, Debug)]
pub struct Example {
    /// The texts.
    pub pair: TaskPair,
    /// The input's tokens.
    pub input: Vec<TokenId>,
    /// The output's tokens.
    pub output: Vec<TokenId>,
}

impl Task {
    /// Reads a task file.
    ///
    /// # Errors
    /// When the file is not of the format, or an entry makes no tokens.
    pub fn read(path: &Path, tokenizer: &Tokenizer) -> Result<Task, FormatError> {
        let name =
            path.file_stem().map_or_else(|| "task".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let example = |(at, pair): (usize, TaskPair)| {
            let tokens = |text: &str| {
                let ids = tokenizer.encode(&format!(" {text}"))?;
                if ids.is_empty() { Err(RequestError::invalid(text, "makes no tokens")) } else { Ok(ids) }
            };
            let both = tokens(&pair.input).and_then(|input| Ok((input, tokens(&pair.output)?)));
            let (input, output) =
                both.map_err(|error| FormatError::malformed(path, format!("entry {at}: {error}")))?;
            Ok(Example { pair, input, output })
        };
        let examples =
            read_task(path)?.into_iter().enumerate().map(example).collect::<Result<_, FormatError>>()?;
        Ok(Task { name, examples })
    }

    /// Checks that every output is one token, for what asks for the answer's only token.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn require_single_tokens(&self) -> Result<(), RequestError> {
        let Some((at, example)) = self.examples.iter().enumerate().find(|(_, e)| e.output.len() != 1) else {
            return Ok(());
        };
        Err(RequestError::invalid(
            format!("task {}, entry {at}", self.name),
            format!(
                "the output '{}' has {} tokens; one is needed here: choose --span answer, which takes the loss over \
                 all of them, or --first-token",
                example.pair.output,
                example.output.len()
            ),
        ))
    }
}

/// The examples of a task in three parts: demonstrations and means come from the first, choices are made on the second,
/// results are of the third.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// Indices of the task's examples.
    pub train: Vec<usize>,
    /// For choosing a factor.
    pub validation: Vec<usize>,
    /// For what is reported.
    pub test: Vec<usize>,
}

/// Shares of the three parts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitShares {
    /// Share of the training part.
    pub train: f64,
    /// Share of the validation part; the rest is the test part.
    pub validation: f64,
}

impl Default for SplitShares {
    /// Half for training, a fifth for choosing, the rest for results.
    fn default() -> Self {
        SplitShares { train: 0.5, validation: 0.2 }
    }
}

impl Splits {
    /// Shuffles by the seed and cuts; every part has an example at least.
    ///
    /// # Errors
    /// When the shares leave nothing for a part, or the task has less than three examples.
    pub fn new(examples: usize, shares: SplitShares, seed: u64) -> Result<Splits, RequestError> {
        let SplitShares { train, validation } = shares;
        let sound = train > 0.0 && validation > 0.0 && train + validation < 1.0;
        if !sound {
            return Err(RequestError::invalid(
                "split",
                format!(
                    "{train} for training and {validation} for validation leave no test part: shares are above 0 and below 1 together"
                ),
            ));
        }
        if examples < 3 {
            return Err(RequestError::invalid(
                "task",
                format!("has {examples} examples; three parts need three"),
            ));
        }
        let count = |share: f64| ((share * examples as f64).round() as usize).max(1);
        let validation = count(validation).min(examples - 2);
        let train = count(train).min(examples - 1 - validation);
        let mut order: Vec<usize> = (0..examples).collect();
        shuffle(&mut order, &mut random(seed, "split"));
        let test = order.split_off(train + validation);
        let validation = order.split_off(train);
        Ok(Splits { train: order, validation, test })
    }
}

/// A generator of its own for each purpose, so that one more draw here changes nothing there.
pub(crate) fn random(seed: u64, purpose: &str) -> Pcg64 {
    // FNV-1a.
    let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Pcg64::seed_from_u64(seed ^ hash)
}

/// Fisher and Yates.
pub(crate) fn shuffle<T>(items: &mut [T], random: &mut Pcg64) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(random, last + 1));
    }
}

pub(crate) fn below(random: &mut Pcg64, bound: usize) -> usize {
    // The bias of the remainder is below 2⁻³² for every bound that fits here.
    (random.next_u64() % bound.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_and_whole() {
        for examples in [3, 4, 10, 61] {
            let splits = Splits::new(examples, SplitShares::default(), 7).unwrap();
            let mut all = [splits.train.clone(), splits.validation.clone(), splits.test.clone()].concat();
            all.sort_unstable();
            assert_eq!(all, (0..examples).collect::<Vec<_>>());
            assert!(!splits.train.is_empty() && !splits.validation.is_empty() && !splits.test.is_empty());
            assert_eq!(splits, Splits::new(examples, SplitShares::default(), 7).unwrap());
        }
        assert_ne!(Splits::new(61, SplitShares::default(), 7), Splits::new(61, SplitShares::default(), 8));
        assert!(Splits::new(2, SplitShares::default(), 7).is_err());
        assert!(Splits::new(9, SplitShares { train: 0.9, validation: 0.1 }, 7).is_err());
        assert!(Splits::new(9, SplitShares { train: f64::NAN, validation: 0.1 }, 7).is_err());
    }
}
