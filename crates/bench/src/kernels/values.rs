//! Operands.

/// Values in [−1, 1) that repeat after a prime number of elements.
pub(super) fn values(count: usize, first: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + first) * 7919 % 1009) as f32 / 504.5 - 1.0).collect()
}

/// f32 → f64.
pub(super) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}
