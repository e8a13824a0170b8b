//! How far an f32 result may be from its f64 twin, element by element.

use std::iter::Sum;
use std::ops::{Add, Mul, Sub};

/// The least normal number: below, a device may take a number for 0.
const LEAST: f64 = f32::MIN_POSITIVE as f64;

/// A number on its way through a formula, with what bounds its error in f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// The number, in f64.
    pub(crate) value: f64,
    /// The formula with every number positive and nothing cancelled: roundings are relative to it.
    pub(crate) size: f64,
    /// What denormals that a device takes for 0 can amount to.
    pub(crate) floor: f64,
    /// The largest number on the way. Beyond the range of f32 nothing is promised.
    pub(crate) reach: f64,
}

/// An exact number, such as an input.
pub(crate) fn exact(value: f32) -> Bound {
    given(f64::from(value))
}

/// A number that is known to f64.
pub(crate) fn given(value: f64) -> Bound {
    Bound {
        value,
        size: value.abs(),
        floor: if value.abs() < LEAST { value.abs() } else { 0.0 },
        reach: value.abs(),
    }
}

/// Each of them exact.
pub(crate) fn exactly(values: &[f32]) -> Vec<Bound> {
    values.iter().map(|&value| exact(value)).collect()
}

impl Bound {
    fn sum_of(self, other: Bound, value: f64) -> Bound {
        let size = self.size + other.size;
        let reach = self.reach.max(other.reach).max(size);
        Bound { value, size, floor: self.floor + other.floor + LEAST, reach }
    }

    /// The same number where its value was computed otherwise, by the oracle.
    pub(crate) fn with_value(self, value: f64) -> Bound {
        Bound { value, ..self }
    }

    /// √x of a sum of squares.
    pub(crate) fn sqrt(self) -> Bound {
        let (value, size) = (self.value.max(0.0).sqrt(), self.size.sqrt());
        Bound { value, size, floor: self.floor.sqrt(), reach: self.reach }
    }
}

impl Add for Bound {
    type Output = Bound;
    fn add(self, other: Bound) -> Bound {
        self.sum_of(other, self.value + other.value)
    }
}

impl Sub for Bound {
    type Output = Bound;
    fn sub(self, other: Bound) -> Bound {
        self.sum_of(other, self.value - other.value)
    }
}

impl Mul for Bound {
    type Output = Bound;
    fn mul(self, other: Bound) -> Bound {
        let size = self.size * other.size;
        let floor = self.floor * (other.size + other.floor) + other.floor * self.size + LEAST;
        Bound { value: self.value * other.value, size, floor, reach: self.reach.max(other.reach).max(size) }
    }
}

impl Sum for Bound {
    fn sum<I: Iterator<Item = Bound>>(terms: I) -> Bound {
        terms.fold(given(0.0), |sum, term| sum + term)
    }
}
