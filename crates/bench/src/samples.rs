//! Times of repeated runs.

use std::time::Duration;

/// Times in milliseconds: of the first run, which compiles and allocates, and of the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    first: Option<f64>,
    /// Ascending.
    times: Vec<f64>,
}

impl Samples {
    /// Of runs that are all alike.
    pub fn alike(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Samples { first: None, times }
    }

    /// The first run set apart.
    pub fn after_first(times: &[Duration]) -> Self {
        let ms: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let (first, rest) = ms.split_at(ms.len().min(1));
        Samples { first: first.first().copied(), ..Samples::alike(rest.to_vec()) }
    }

    /// The first run, where it was set apart.
    pub fn first(&self) -> Option<f64> {
        self.first
    }

    /// The middle one, or the mean of the two in the middle; 0 where there was no run.
    pub fn median(&self) -> f64 {
        let middle = self.times.len() / 2;
        match self.times.len() {
            0 => 0.0,
            count if count % 2 == 1 => self.times[middle],
            _ => (self.times[middle - 1] + self.times[middle]) / 2.0,
        }
    }

    /// The fastest one; 0 where there was no run.
    pub fn min(&self) -> f64 {
        self.times.first().copied().unwrap_or(0.0)
    }

    /// Number of runs, without the first.
    pub fn runs(&self) -> usize {
        self.times.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Samples::alike(vec![3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(Samples::alike(vec![4.0, 1.0, 3.0, 2.0]).median(), 2.5);
        assert_eq!(Samples::alike(Vec::new()).median(), 0.0);
        let samples = Samples::after_first(&[9, 3, 1, 2].map(Duration::from_millis));
        assert_eq!(
            (samples.first(), samples.median(), samples.min(), samples.runs()),
            (Some(9.0), 2.0, 1.0, 3)
        );
    }
}
