//! A linear layer as HF's Conv1D stores it: `y = xW + b` with `W` `[in, out]`.

use super::{add_bias, column_sum, matmul, matmul_nt, matmul_tn};

/// `y = x·W + b`: `x` is `[t, d_in]`, `w` is `[d_in, d_out]`, `b` is `[d_out]`, the result `[t, d_out]`.
pub fn linear(x: &[f64], w: &[f64], b: &[f64], t: usize, d_in: usize, d_out: usize) -> Vec<f64> {
    add_bias(&matmul(x, w, t, d_out, d_in), b, t, d_out)
}

/// What [`linear_backward`] returns.
#[derive(Clone, Debug)]
pub struct LinearGrad {
    /// ∂L/∂x `[t, d_in]`
    pub dx: Vec<f64>,
    /// ∂L/∂W `[d_in, d_out]`
    pub dw: Vec<f64>,
    /// ∂L/∂b `[d_out]`
    pub db: Vec<f64>,
}

/// `∂x = δ·Wᵀ`, `∂W = xᵀ·δ`, `∂b = Σ_t δ_t`: `delta` is ∂L/∂y `[t, d_out]`.
///
/// The two factors of `∂W`, the input and the backward signal, are what a trace keeps.
pub fn linear_backward(
    delta: &[f64],
    x: &[f64],
    w: &[f64],
    t: usize,
    d_in: usize,
    d_out: usize,
) -> LinearGrad {
    LinearGrad {
        dx: matmul_nt(delta, w, t, d_in, d_out),
        dw: matmul_tn(x, delta, d_in, d_out, t),
        db: column_sum(delta, t, d_out),
    }
}
