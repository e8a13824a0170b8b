//! What is read of a row of logits: softmax statistics, the ends of its order, the rank of a token.

use super::log_sum_exp;

/// What [`vocabulary_summary`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct VocabularySummary {
    /// `log Σ_j exp(x_j)`
    pub log_sum_exp: f64,
    /// `−Σ_j p_j·log p_j`, in nats, with p = softmax(x)
    pub entropy: f64,
    /// The k largest, the largest first; of equals the smaller token first.
    pub top: Vec<usize>,
    /// The k smallest, the smallest first; of equals the smaller token first.
    pub bottom: Vec<usize>,
    /// For each given token how many are strictly larger.
    pub ranks: Vec<usize>,
}

/// Summarises one row of logits `[v]`; `k` is at most v.
///
/// ```text
/// H = log Z − Σ_j p_j·x_j = log Σ_j exp(x_j − m) − Σ_j p_j·(x_j − m)
/// ```
pub fn vocabulary_summary(x: &[f64], k: usize, tokens: &[usize]) -> VocabularySummary {
    assert!(k <= x.len(), "vocabulary_summary: {k} of {}", x.len());
    let log_sum_exp = log_sum_exp(x);
    let entropy = log_sum_exp - x.iter().map(|x| (x - log_sum_exp).exp() * x).sum::<f64>();
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
    let top = order[..k].to_vec();
    // Stable again: equals stay in the order of their tokens.
    order.sort_unstable();
    order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
    let bottom = order[..k].to_vec();
    let ranks = tokens.iter().map(|&token| x.iter().filter(|&&other| other > x[token]).count()).collect();
    VocabularySummary { log_sum_exp, entropy, top, bottom, ranks }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_can_be_checked_by_hand() {
        let x = [1.0f64, 4.0, 1.0, 4.0, 2.0].map(f64::ln);
        let summary = vocabulary_summary(&x, 3, &[0, 3, 4]);
        assert!((summary.log_sum_exp - 12f64.ln()).abs() < 1e-12);
        let p = [1.0, 4.0, 1.0, 4.0, 2.0].map(|weight: f64| weight / 12.0);
        let entropy: f64 = -p.iter().map(|p| p * p.ln()).sum::<f64>();
        assert!((summary.entropy - entropy).abs() < 1e-12);
        assert_eq!((summary.top, summary.bottom), (vec![1, 3, 4], vec![0, 2, 4]));
        assert_eq!(summary.ranks, [3, 0, 2]);
    }
}
