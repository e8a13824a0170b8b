//! GELU in its tanh approximation, the `gelu_new` of HF configurations.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// √(2/π)
const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// The cubic coefficient of the approximation (Hendrycks & Gimpel, 2016).
const CUBIC: f64 = 0.044715;

/// `g = ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`
pub fn gelu_new(x: f64) -> f64 {
    0.5 * x * (1.0 + inner(x).tanh())
}

/// `∂g/∂x = ½·(1 + τ) + ½·x·(1 − τ²)·√(2/π)·(1 + 3·0.044715·x²)`, with `τ` the tanh of [`gelu_new`].
pub fn gelu_new_derivative(x: f64) -> f64 {
    let tau = inner(x).tanh();
    let d_inner = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
    0.5 * (1.0 + tau) + 0.5 * x * (1.0 - tau * tau) * d_inner
}

/// The argument of the tanh.
fn inner(x: f64) -> f64 {
    SQRT_2_OVER_PI * (x + CUBIC * x * x * x)
}
