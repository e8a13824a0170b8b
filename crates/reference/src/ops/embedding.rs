//! Token and position embeddings.

/// `r_i = wte[token_i] + wpe[i]`: `tokens` is `[t]`, `wte` is `[vocabulary, d]`, `wpe` is
/// `[positions, d]`, the result `[t, d]`.
pub fn embedding(tokens: &[u32], wte: &[f64], wpe: &[f64], d: usize) -> Vec<f64> {
    embedding_batch(tokens, wte, wpe, d, tokens.len())
}

/// `r_i = wte[token_i] + wpe[i mod context]`: several sequences of `context` tokens, one after the
/// other; `tokens` is `[b·context]`, the result `[b·context, d]`.
pub fn embedding_batch(tokens: &[u32], wte: &[f64], wpe: &[f64], d: usize, context: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(tokens.len() * d);
    for (row, &token) in tokens.iter().enumerate() {
        let token = &wte[token as usize * d..][..d]; // (d)
        let position = &wpe[row % context * d..][..d]; // (d)
        out.extend(token.iter().zip(position).map(|(token, position)| token + position));
    }
    out
}

/// `∂wte[w] = Σ_{i: token_i = w} δ_i`, `∂wpe[i] = δ_i`: `delta` is `[t, d]`; returns
/// (∂wte `[vocab, d]`, ∂wpe `[n_positions, d]`).
pub fn embedding_backward(
    tokens: &[u32],
    delta: &[f64],
    vocab: usize,
    n_positions: usize,
    d: usize,
) -> (Vec<f64>, Vec<f64>) {
    embedding_batch_backward(tokens, delta, vocab, n_positions, d, tokens.len())
}

/// `∂wte[w] = Σ_{i: token_i = w} δ_i`, `∂wpe[s] = Σ_{i: i mod context = s} δ_i`: `delta` is
/// `[b·context, d]`; returns (∂wte `[vocab, d]`, ∂wpe `[n_positions, d]`).
pub fn embedding_batch_backward(
    tokens: &[u32],
    delta: &[f64],
    vocab: usize,
    n_positions: usize,
    d: usize,
    context: usize,
) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(delta.len(), tokens.len() * d, "embedding_backward: [{}, {d}]", tokens.len());
    let mut d_wte = vec![0.0; vocab * d]; // (vocab, d)
    let mut d_wpe = vec![0.0; n_positions * d]; // (n_positions, d)
    for (row, (&token, delta)) in tokens.iter().zip(delta.chunks_exact(d)).enumerate() {
        let token = &mut d_wte[token as usize * d..][..d]; // (d)
        let position = &mut d_wpe[row % context * d..][..d]; // (d)
        for i in 0..d {
            token[i] += delta[i];
            position[i] += delta[i];
        }
    }
    (d_wte, d_wpe)
}
