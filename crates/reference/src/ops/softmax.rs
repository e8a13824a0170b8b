//! Softmax over a row, and over the causal part of the rows of a score matrix.

/// `log Σ_j exp(x_j)`, the largest element subtracted before the exponential.
pub fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// `p_i = exp(x_i) / Σ_j exp(x_j)`, the largest element subtracted before the exponential.
pub fn softmax(row: &[f64]) -> Vec<f64> {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = row.iter().map(|x| (x - max).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

/// `A_ij = exp(S_ij) / Σ_{j' ≤ i} exp(S_ij')` for j ≤ i, exactly 0 for j > i.
///
/// `scores` are already scaled by 1/√d_head, `[h, t, t]`; what stands above the diagonal is not read.
pub fn causal_softmax(scores: &[f64], h: usize, t: usize) -> Vec<f64> {
    assert_eq!(scores.len(), h * t * t, "causal_softmax: [{h}, {t}, {t}]");
    let mut pattern = vec![0.0; h * t * t]; // (h, t, t)
    if t == 0 {
        return pattern;
    }
    for (row, (scores, pattern)) in scores.chunks_exact(t).zip(pattern.chunks_exact_mut(t)).enumerate() {
        let seen = row % t + 1; // position i sees the positions 0..=i
        pattern[..seen].copy_from_slice(&softmax(&scores[..seen]));
    }
    pattern
}
