//! How varied a text is.

use std::collections::HashMap;
use std::hash::Hash;

/// The weighted mean of bigram and trigram entropy, in bits, of Meng et al. (2022), after Zhang et al. (2018):
/// (⅔·H₂ + 4⁄3·H₃)/2 with Hₙ = −Σ f·log₂ f over the n-grams' frequencies f. Here over tokens. A model that
/// an edit has broken repeats itself, and the number falls.
pub fn ngram_entropy<T: Eq + Hash>(tokens: &[T]) -> f64 {
    (2.0 / 3.0 * entropy(tokens, 2) + 4.0 / 3.0 * entropy(tokens, 3)) / 2.0
}

fn entropy<T: Eq + Hash>(tokens: &[T], n: usize) -> f64 {
    let mut counts: HashMap<&[T], usize> = HashMap::new();
    for gram in tokens.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    let total = counts.values().sum::<usize>() as f64;
    // Sorted, so that a sum over a hash map has the same bits each time.
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    counts.iter().map(|&count| count as f64 / total).map(|f| -f * f.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_has_none_and_a_varied_text_has_the_logarithm() {
        assert_eq!(ngram_entropy(&[1; 20]), 0.0);
        assert_eq!(ngram_entropy::<u32>(&[]), 0.0);
        // 16 different bigrams and 15 different trigrams.
        let varied: Vec<u32> = (0..17).collect();
        let expected = (2.0 / 3.0 * 16_f64.log2() + 4.0 / 3.0 * 15_f64.log2()) / 2.0;
        assert!((ngram_entropy(&varied) - expected).abs() < 1e-12);
    }
}
