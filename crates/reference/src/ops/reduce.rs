//! Sums over a whole tensor or its columns.

/// `s_j = Σ_i x_ij`: `x` is `[rows, cols]`, the result `[cols]`. The bias gradient of a linear layer.
pub fn column_sum(x: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    assert_eq!(x.len(), rows * cols, "column_sum: [{rows}, {cols}]");
    let mut sums = vec![0.0; cols]; // (cols)
    for row in x.chunks_exact(cols.max(1)) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
    sums
}

/// `‖(x₁, x₂, …)‖₂ = √Σ x²` over all elements of all tensors, as gradient clipping uses it.
pub fn global_norm(tensors: &[&[f64]]) -> f64 {
    tensors.iter().flat_map(|tensor| tensor.iter()).map(|x| x * x).sum::<f64>().sqrt()
}
