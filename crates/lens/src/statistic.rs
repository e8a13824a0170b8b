//! Means and standard deviations over examples.

use serde::{Deserialize, Serialize};

/// Mean and standard deviation over examples (of the population: divided by their number).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistic {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
}

impl Statistic {
    /// Of these values; zeros for none.
    pub fn of(values: &[f64]) -> Statistic {
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
        Statistic { mean, std: variance.sqrt() }
    }
}

/// Running mean and squared deviations of many tensors of one shape (Welford 1962), in f64.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Running {
    pub(crate) fn new(size: usize) -> Self {
        Running { count: 0.0, mean: vec![0.0; size], squares: vec![0.0; size] }
    }

    pub(crate) fn add(&mut self, values: &[f32]) {
        self.count += 1.0;
        for ((mean, squares), value) in self.mean.iter_mut().zip(&mut self.squares).zip(values) {
            let deviation = f64::from(*value) - *mean;
            *mean += deviation / self.count;
            *squares += deviation * (f64::from(*value) - *mean);
        }
    }

    pub(crate) fn mean(&self) -> Vec<f32> {
        self.mean.iter().map(|mean| *mean as f32).collect()
    }

    pub(crate) fn std(&self) -> Vec<f32> {
        self.squares.iter().map(|squares| (squares / self.count.max(1.0)).sqrt() as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_agrees_with_whole() {
        let values = [3.0, -1.5, 4.0, 4.25];
        let mut running = Running::new(1);
        values.iter().for_each(|value| running.add(&[*value as f32]));
        let whole = Statistic::of(&values);
        assert!((f64::from(running.mean()[0]) - whole.mean).abs() < 1e-7);
        assert!((f64::from(running.std()[0]) - whole.std).abs() < 1e-7);
        assert_eq!(Statistic::of(&[]), Statistic::default());
    }
}
