//! Layer normalisation over the last dimension.

/// What [`layer_norm`] returns.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// The normalised, scaled and shifted rows `[t, d]`.
    pub y: Vec<f64>,
    /// μ of each row `[t]`.
    pub mean: Vec<f64>,
    /// 1/σ of each row `[t]`.
    pub rstd: Vec<f64>,
}

/// `y = γ ⊙ (x − μ)/σ + β` with `μ = mean(x)`, `σ = √(mean((x − μ)²) + ε)` over each row.
///
/// `x` is `[t, d]`, `gamma` and `beta` are `[d]`. The variance is the biased one (÷ d), taken in a
/// second pass over the row.
pub fn layer_norm(x: &[f64], gamma: &[f64], beta: &[f64], t: usize, d: usize, eps: f64) -> LayerNorm {
    assert_eq!((x.len(), gamma.len(), beta.len()), (t * d, d, d), "layer_norm: [{t}, {d}]");
    let mut out =
        LayerNorm { y: Vec::with_capacity(t * d), mean: Vec::with_capacity(t), rstd: Vec::with_capacity(t) };
    for x in x.chunks_exact(d) {
        let mean = x.iter().sum::<f64>() / d as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
        let rstd = 1.0 / (variance + eps).sqrt();
        out.y.extend((0..d).map(|i| gamma[i] * ((x[i] - mean) * rstd) + beta[i]));
        out.mean.push(mean);
        out.rstd.push(rstd);
    }
    out
}

/// What [`layer_norm_backward`] returns.
#[derive(Clone, Debug)]
pub struct LayerNormGrad {
    /// ∂L/∂x `[t, d]`
    pub dx: Vec<f64>,
    /// ∂L/∂γ `[d]`, summed over the rows
    pub dgamma: Vec<f64>,
    /// ∂L/∂β `[d]`, summed over the rows
    pub dbeta: Vec<f64>,
}

/// `∂x = (h − mean(h) − x̂ ⊙ mean(h ⊙ x̂))/σ` with `x̂ = (x − μ)/σ`, `h = γ ⊙ ∂y`;
/// `∂γ = Σ_t ∂y ⊙ x̂`, `∂β = Σ_t ∂y`.
///
/// `dy` and `x` are `[t, d]`, `gamma` is `[d]`; `mean` and `rstd` `[t]` are those of the forward pass.
pub fn layer_norm_backward(
    dy: &[f64],
    x: &[f64],
    gamma: &[f64],
    mean: &[f64],
    rstd: &[f64],
    t: usize,
    d: usize,
) -> LayerNormGrad {
    assert_eq!((dy.len(), x.len(), gamma.len()), (t * d, t * d, d), "layer_norm_backward: [{t}, {d}]");
    assert_eq!((mean.len(), rstd.len()), (t, t), "layer_norm_backward: statistics of {t} rows");
    let mut grad = LayerNormGrad { dx: Vec::with_capacity(t * d), dgamma: vec![0.0; d], dbeta: vec![0.0; d] };
    for (row, (dy, x)) in dy.chunks_exact(d).zip(x.chunks_exact(d)).enumerate() {
        let x_hat: Vec<f64> = x.iter().map(|x| (x - mean[row]) * rstd[row]).collect(); // (d)
        let h: Vec<f64> = gamma.iter().zip(dy).map(|(gamma, dy)| gamma * dy).collect(); // (d)
        let mean_h = h.iter().sum::<f64>() / d as f64;
        let mean_h_x_hat = h.iter().zip(&x_hat).map(|(h, x_hat)| h * x_hat).sum::<f64>() / d as f64;
        for i in 0..d {
            grad.dx.push((h[i] - mean_h - x_hat[i] * mean_h_x_hat) * rstd[row]);
            grad.dgamma[i] += dy[i] * x_hat[i];
            grad.dbeta[i] += dy[i];
        }
    }
    grad
}
