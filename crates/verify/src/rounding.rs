//! How far from f64 an f32 result may be.
//!
//! An f32 number is within `2⁻²⁴` of its value, relatively. A sum of n products makes n such errors, of partial
//! sums that grow as √n when signs are mixed; they are independent, so their sum, relative to the result, has a
//! standard deviation of about `√n·2⁻²⁴`. That is what is *expected*. What is *allowed* is four of them: among
//! a million independent elements one in sixteen of such runs would have a larger one by chance, and what is
//! summed here is far from independent. A wrong kernel is off by thousands.

/// Half an ulp at 1: the largest relative error of one rounding to f32.
pub(crate) const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// Standard deviations that are allowed.
pub(crate) const DEVIATIONS: f64 = 4.0;

/// Roundings around a sum (scales, epilogues), counted as so many more terms.
const AROUND: usize = 16;

/// WGSL allows `3 + 2|x|` ulp of eˣ, and `eˣ·|x| ≤ 1/e`: twice 3 + 2/e half-ulps, spread over the deviations.
const EXPONENTIAL: f64 = 2.0 * (3.0 + 2.0 / std::f64::consts::E) / DEVIATIONS;

/// One standard deviation of gelu_new' at f: 1 − t² at |t| → 1 is multiplied by f·u'(f) ~ f³; it is 0 from
/// |u| = 9.01 on, where |f| is about 6.
pub(crate) fn gelu_slope_rounding(f: f64) -> f64 {
    8.0 * ROUNDING * (1.0 + f.abs().min(6.0).powi(3)) / DEVIATIONS
}

/// The rounding to expect of a result, relative to a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rounding {
    /// One standard deviation.
    pub(crate) expected: f64,
    /// What it is relative to, where the largest reference value is smaller by accident.
    pub(crate) at_least: f64,
}

impl Rounding {
    /// Of sums of so many terms.
    pub(crate) fn sum(terms: usize) -> Self {
        Rounding { expected: ((terms + AROUND) as f64).sqrt() * ROUNDING, at_least: 0.0 }
    }

    /// Of so many roundings that do not average out.
    pub(crate) fn steps(count: f64) -> Self {
        Rounding { expected: count * ROUNDING / DEVIATIONS, at_least: 0.0 }
    }

    /// Nothing at all: the same bits.
    pub(crate) fn none() -> Self {
        Rounding { expected: 0.0, at_least: 0.0 }
    }

    /// With an exponential among the operations.
    pub(crate) fn exponential(self) -> Self {
        self.plus(EXPONENTIAL * ROUNDING)
    }

    /// With more of it.
    pub(crate) fn plus(self, expected: f64) -> Self {
        Rounding { expected: self.expected + expected, ..self }
    }

    /// So many times as much.
    pub(crate) fn times(self, factor: f64) -> Self {
        Rounding { expected: self.expected * factor, ..self }
    }

    /// Relative to at least this size.
    pub(crate) fn of_at_least(self, size: f64) -> Self {
        Rounding { at_least: size, ..self }
    }
}
