//! Causal multi-head attention and its closed-form backward, which yields Reversed Attention.

use super::{causal_softmax, matmul, matmul_nt, matmul_tn};

/// What [`attention`] returns.
#[derive(Clone, Debug)]
pub struct Attention {
    /// A `[h, t, t]`: the softmax of the scaled, causal scores, before any patch.
    pub pattern: Vec<f64>,
    /// o `[t, d]`: the heads' outputs side by side.
    pub out: Vec<f64>,
}

/// `S_h = q_h·k_hᵀ/√d_h` (causal), `A_h = softmax(S_h)`, `A'_h = A_h + α·M_h`, `o_h = A'_h·v_h`.
///
/// `qkv` is `[t, 3d]`: q, k and v side by side, each `h` heads of `d/h` columns. `patch` is
/// (M `[h, t, t]`, α); without one A' = A. The patched pattern is not renormalised, and of M only
/// what stands on and below the diagonal counts.
pub fn attention(qkv: &[f64], t: usize, d: usize, h: usize, patch: Option<(&[f64], f64)>) -> Attention {
    let (q, k, v) = split_qkv(qkv, t, d, h); // (h, t, d/h) each
    let d_head = d / h;
    let scale = 1.0 / (d_head as f64).sqrt();
    let scores = per_head(h, |i| {
        let s = matmul_nt(head(&q, i, h), head(&k, i, h), t, t, d_head); // (t, t)
        s.iter().map(|s| s * scale).collect()
    }); // (h, t, t)
    let pattern = causal_softmax(&scores, h, t); // (h, t, t)
    let patched = patched_pattern(&pattern, patch, h, t); // (h, t, t)
    let o = per_head(h, |i| matmul(head(&patched, i, h), head(&v, i, h), t, d_head, t)); // (h, t, d/h)
    Attention { pattern, out: merge_heads(&o, t, d, h) }
}

/// What [`attention_backward`] returns.
#[derive(Clone, Debug)]
pub struct AttentionGrad {
    /// R `[h, t, t]`: ∂L/∂(q·kᵀ), Reversed Attention; exactly 0 above the diagonal.
    pub reversed: Vec<f64>,
    /// `[∂q ∂k ∂v]` `[t, 3d]`
    pub d_qkv: Vec<f64>,
}

/// `E = ∂o·vᵀ`, `R = A ⊙ (E − rowsum(A ⊙ E))/√d_h`, `∂q = R·k`, `∂k = Rᵀ·q`, `∂v = A'ᵀ·∂o`,
/// for each head.
///
/// The derivation, a row at a time:
///
/// 1. `o_i = Σ_j A'_ij v_j`, so `∂L/∂A'_ij = ∂o_i·v_j = E_ij`, and `∂v_j = Σ_i A'_ij ∂o_i`: here the
///    patched pattern stands.
/// 2. `A' = A + α·M` with constant M, so `∂L/∂A = E` too.
/// 3. A is the softmax of S along the row, whose Jacobian is `∂A_ij/∂S_ik = A_ij(δ_jk − A_ik)`: here
///    the pattern *before* the patch stands. Hence `∂L/∂S_ik = A_ik(E_ik − Σ_j A_ij E_ij)`.
/// 4. `S = q·kᵀ/√d_h`, so `R = ∂L/∂(q·kᵀ) = ∂L/∂S/√d_h`, `∂q = R·k` and `∂k = Rᵀ·q`.
///
/// Without a patch `Σ_j A_ij E_ij = ∂o_i·o_i`; with one it is not, because o contains α·M·v.
///
/// `qkv` is `[t, 3d]`, `pattern` is `[h, t, t]` as [`attention`] returned it, `patch` the one given
/// there, `d_out` is ∂L/∂o `[t, d]`.
pub fn attention_backward(
    qkv: &[f64],
    pattern: &[f64],
    patch: Option<(&[f64], f64)>,
    d_out: &[f64],
    t: usize,
    d: usize,
    h: usize,
) -> AttentionGrad {
    assert_eq!((pattern.len(), d_out.len()), (h * t * t, t * d), "attention_backward: [{h}, {t}, {t}]");
    let (q, k, v) = split_qkv(qkv, t, d, h); // (h, t, d/h) each
    let d_o = split_heads(d_out, t, d, h); // (h, t, d/h)
    let d_head = d / h;
    let scale = 1.0 / (d_head as f64).sqrt();
    let patched = patched_pattern(pattern, patch, h, t); // (h, t, t)
    let reversed = per_head(h, |i| {
        let e = matmul_nt(head(&d_o, i, h), head(&v, i, h), t, t, d_head); // (t, t)
        reversed_attention(head(pattern, i, h), &e, t, scale)
    }); // (h, t, t)
    let d_q = per_head(h, |i| matmul(head(&reversed, i, h), head(&k, i, h), t, d_head, t)); // (h, t, d/h)
    let d_k = per_head(h, |i| matmul_tn(head(&reversed, i, h), head(&q, i, h), t, d_head, t)); // (h, t, d/h)
    let d_v = per_head(h, |i| matmul_tn(head(&patched, i, h), head(&d_o, i, h), t, d_head, t)); // (h, t, d/h)
    let [d_q, d_k, d_v] = [d_q, d_k, d_v].map(|x| merge_heads(&x, t, d, h)); // (t, d) each
    let mut d_qkv = Vec::with_capacity(t * 3 * d);
    for row in 0..t {
        for part in [&d_q, &d_k, &d_v] {
            d_qkv.extend_from_slice(&part[row * d..][..d]);
        }
    }
    AttentionGrad { reversed, d_qkv }
}

/// `R = A ⊙ (E − rowsum(A ⊙ E))·scale` for one head; `a` and `e` are `[t, t]`. Above the diagonal,
/// where A is 0 and E need not be, R is a written 0 and not a product.
fn reversed_attention(a: &[f64], e: &[f64], t: usize, scale: f64) -> Vec<f64> {
    let mut r = vec![0.0; t * t]; // (t, t)
    for i in 0..t {
        let (a, e) = (&a[i * t..][..=i], &e[i * t..][..=i]); // (i + 1): the causal part of row i
        let row_sum: f64 = a.iter().zip(e).map(|(a, e)| a * e).sum();
        for j in 0..=i {
            r[i * t + j] = a[j] * (e[j] - row_sum) * scale;
        }
    }
    r
}

/// `A' = A + α·M` on and below the diagonal, 0 above it; `pattern` and M are `[h, t, t]`. Without a
/// patch, A.
pub fn patched_pattern(pattern: &[f64], patch: Option<(&[f64], f64)>, h: usize, t: usize) -> Vec<f64> {
    let mut patched = pattern.to_vec(); // (h, t, t)
    if let Some((map, alpha)) = patch {
        assert_eq!((pattern.len(), map.len()), (h * t * t, h * t * t), "patched_pattern: [{h}, {t}, {t}]");
        for row in 0..h * t {
            for j in 0..=row % t {
                patched[row * t + j] += alpha * map[row * t + j];
            }
        }
    }
    patched
}

/// `[t, d]`, heads side by side → `[h, t, d/h]`, heads one after the other.
pub fn split_heads(x: &[f64], t: usize, d: usize, h: usize) -> Vec<f64> {
    assert_eq!((x.len(), d % h), (t * d, 0), "split_heads: [{t}, {d}] in {h} heads");
    columns(x, t, d, 0, h, d / h)
}

/// `[h, t, d/h]` → `[t, d]`: the inverse of [`split_heads`], the `concat` of the formulas.
pub fn merge_heads(x: &[f64], t: usize, d: usize, h: usize) -> Vec<f64> {
    assert_eq!((x.len(), d % h), (t * d, 0), "merge_heads: [{t}, {d}] of {h} heads");
    let d_head = d / h;
    let mut merged = vec![0.0; t * d]; // (t, d)
    for (row, x) in x.chunks_exact(d_head).enumerate() {
        let (i, position) = (row / t, row % t);
        merged[position * d + i * d_head..][..d_head].copy_from_slice(x);
    }
    merged
}

/// `[t, 3d]` → q, k, v, each `[h, t, d/h]`.
fn split_qkv(qkv: &[f64], t: usize, d: usize, h: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    assert_eq!((qkv.len(), d % h), (t * 3 * d, 0), "attention: [{t}, 3·{d}] in {h} heads");
    let part = |i: usize| columns(qkv, t, 3 * d, i * d, h, d / h);
    (part(0), part(1), part(2))
}

/// From `x` `[t, width]`, the `h` groups of `d_head` columns that start at `first`: `[h, t, d_head]`.
fn columns(x: &[f64], t: usize, width: usize, first: usize, h: usize, d_head: usize) -> Vec<f64> {
    let mut out = Vec::with_capacity(h * t * d_head);
    for i in 0..h {
        for row in 0..t {
            out.extend_from_slice(&x[row * width + first + i * d_head..][..d_head]);
        }
    }
    out
}

/// The part of `x` `[h, …]` that belongs to head `i`.
fn head(x: &[f64], i: usize, h: usize) -> &[f64] {
    let size = x.len() / h;
    &x[i * size..][..size]
}

/// What `f` makes of each head, one after the other.
fn per_head(h: usize, f: impl Fn(usize) -> Vec<f64>) -> Vec<f64> {
    (0..h).flat_map(f).collect()
}
