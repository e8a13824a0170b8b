//! How much arithmetic a pass needs: multiplications and additions of its matrix products.

use retrograd_formats::Config;

/// Operations of a product of `m`×`k` and `k`×`n`.
pub fn product(m: usize, n: usize, k: usize) -> u64 {
    2 * m as u64 * n as u64 * k as u64
}

/// Operations of a T×T product of every head of which half is zero or not wanted: T(T+1)·D.
fn causal(t: usize, d: usize) -> u64 {
    (t as u64) * (t as u64 + 1) * d as u64
}

/// Operations of the matrix products of a trace of T tokens whose loss is at `positions` positions from
/// `first_position` on. Rows of δ that are 0 need none; nor do the zeros above the diagonal.
pub fn trace(config: &Config, t: usize, first_position: usize, positions: usize) -> u64 {
    let (d, i, layers) = (config.n_embd, config.n_inner, config.n_layer);
    let mlp = |rows| 2 * product(rows, d, i);
    // [q k v] and o·Wo; q·kᵀ and A·v.
    let forward = product(t, 3 * d, d) + product(t, d, d) + 2 * causal(t, d) + mlp(t);
    // ∂o; E, ∂q, ∂k, ∂v; ∂u.
    let backward = |rows: usize| {
        // Rows from t − rows on: each reaches all columns up to its own.
        let partial = causal(t, d) - causal(t - rows, d);
        mlp(rows) + product(rows, d, d) + 4 * partial + product(t, 3 * d, d)
    };
    let last = t - first_position.min(t.saturating_sub(1));
    let blocks = layers as u64 * forward + (layers as u64).saturating_sub(1) * backward(t) + backward(last);
    blocks + 2 * product(positions, config.vocab_size, d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NamedShape;

    #[test]
    fn a_trace_of_gpt2_is_two_passes_over_its_85_million_block_weights() {
        let config = NamedShape::Gpt2.config();
        let blocks = 12 * (12 * 768 * 768) as u64;
        // Every position: forward and backward are 2 operations a weight and token each, beside attention and head.
        let all = trace(&config, 64, 0, 64);
        let without = all - 12 * 6 * causal(64, 768) - 2 * product(64, 50257, 768);
        assert_eq!(without, 2 * 2 * 64 * blocks);
        // Loss on the last position alone: the last block's MLP and Wo have one row to go back through.
        let last = trace(&config, 64, 63, 1);
        assert!(last < all && last > all * 6 / 10, "{last} of {all}");
    }
}
