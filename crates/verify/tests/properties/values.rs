//! Shapes and values that operations are given.

use proptest::prelude::*;

/// What the values of a case are like. The simplest first: cases shrink towards it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Uniform in [−1, 1).
    Plain,
    /// 0 and −0.
    Zeros,
    /// Few different numbers, so that many are equal.
    Ties,
    /// Denormals, and the smallest numbers that are none.
    Tiny,
    /// Magnitudes from 2⁻³⁰ to 2³⁰.
    Mixed,
    /// ±1e30 among small ones.
    Huge,
    /// All of these together.
    Everything,
}

const KINDS: [Kind; 7] =
    [Kind::Plain, Kind::Zeros, Kind::Ties, Kind::Tiny, Kind::Mixed, Kind::Huge, Kind::Everything];

/// A seed and a kind: all values of a case follow from them, so that a failure prints in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    pub(crate) kind: Kind,
    pub(crate) seed: u64,
}

/// Any values.
pub(crate) fn values() -> impl Strategy<Value = Values> + Clone {
    (prop::sample::select(&KINDS[..]), 0..u64::MAX).prop_map(|(kind, seed)| Values { kind, seed })
}

/// A number of rows, columns, elements: one, a few, beside and on the tiles of kernels, anything up to `most`.
pub(crate) fn extent(most: usize) -> impl Strategy<Value = usize> + Clone {
    let beside: Vec<usize> = [4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257]
        .into_iter()
        .filter(|n| *n <= most)
        .collect();
    let beside = if beside.is_empty() { vec![1] } else { beside };
    prop_oneof![
        1 => Just(1),
        2 => 1..=most.min(9),
        2 => prop::sample::select(beside),
        2 => 1..=most,
    ]
}

impl Values {
    /// The beginning of the sequence.
    pub(crate) fn start(self) -> Source {
        Source { kind: self.kind, state: self.seed }
    }
}

/// A sequence of numbers.
pub(crate) struct Source {
    kind: Kind,
    state: u64,
}

impl Source {
    /// Uniform bits (SplitMix64).
    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound` − 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// Uniform in [−1, 1), whatever the kind.
    pub(crate) fn plain(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// The next value.
    pub(crate) fn value(&mut self) -> f32 {
        self.of(self.kind)
    }

    fn of(&mut self, kind: Kind) -> f32 {
        match kind {
            Kind::Plain => self.plain(),
            Kind::Zeros => [0.0, -0.0][self.below(2)],
            Kind::Ties => [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0][self.below(6)],
            Kind::Tiny => {
                // The smallest denormal, others, the smallest normal number and its neighbour, 1e-30.
                let tiny = [1e-45, 1e-40, f32::MIN_POSITIVE, 1.175_494_2e-38, 1e-30][self.below(5)];
                [tiny, -tiny][self.below(2)]
            }
            Kind::Mixed => self.plain() * 2f32.powi(self.below(61) as i32 - 30),
            Kind::Huge => [1e30, -1e30, 1e30 * self.plain(), self.plain(), 0.0, 1e-30][self.below(6)],
            Kind::Everything => {
                let kind = KINDS[self.below(KINDS.len() - 1)];
                self.of(kind)
            }
        }
    }

    /// So many values.
    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// So many token ids.
    pub(crate) fn tokens(&mut self, count: usize, vocabulary: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(vocabulary) as u32).collect()
    }
}
