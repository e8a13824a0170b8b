//! Sums of rows: the bias of a linear layer, the residual stream.

/// `y_t = x_t + b`: `x` is `[t, d]`, `b` is `[d]`, the result `[t, d]`. Its backward is
/// [`column_sum`](super::column_sum) for `b` and the identity for `x`.
pub fn add_bias(x: &[f64], b: &[f64], t: usize, d: usize) -> Vec<f64> {
    assert_eq!((x.len(), b.len()), (t * d, d), "add_bias: [{t}, {d}] + [{d}]");
    x.iter().enumerate().map(|(i, x)| x + b[i % d]).collect()
}

/// `z = x + y`, element by element; both slices have the same length.
pub fn add(x: &[f64], y: &[f64]) -> Vec<f64> {
    assert_eq!(x.len(), y.len(), "add");
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}
