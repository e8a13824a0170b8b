//! Each operation's backward against finite differences of its forward.

use crate::finite_difference::{assert_gradient, distance, inner, slope};
use crate::random::Random;
use retrograd_reference::ops::*;

/// What the five-point rule leaves at these sizes is about 1e-11.
const TOLERANCE: f64 = 1e-9;

/// One of the three products: a, b, m, n, k.
type Product = fn(&[f64], &[f64], usize, usize, usize) -> Vec<f64>;

/// C[i][j] = Σ_p a(i, p)·b(p, j), as the definition has it.
fn product(
    m: usize,
    n: usize,
    k: usize,
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    (0..m * n).map(|at| (0..k).map(|p| a(at / n, p) * b(p, at % n)).sum()).collect()
}

#[test]
fn products_are_those_of_the_definition() {
    let mut random = Random::new(1);
    // One element; less than a panel; odd everything; long sums; enough for two threads.
    for (m, n, k) in [(1, 1, 1), (3, 2, 5), (17, 13, 11), (2, 3, 101), (1, 50, 7), (67, 71, 129)] {
        let (a, b) = (random.numbers(m * k), random.numbers(k * n));
        let expected = product(m, n, k, |i, p| a[i * k + p], |p, j| b[p * n + j]);
        assert!(distance(&matmul(&a, &b, m, n, k), &expected) < 1e-14, "NN {m} {n} {k}");
        let expected = product(m, n, k, |i, p| a[i * k + p], |p, j| b[j * k + p]);
        assert!(distance(&matmul_nt(&a, &b, m, n, k), &expected) < 1e-14, "NT {m} {n} {k}");
        let expected = product(m, n, k, |i, p| a[p * m + i], |p, j| b[p * n + j]);
        assert!(distance(&matmul_tn(&a, &b, m, n, k), &expected) < 1e-14, "TN {m} {n} {k}");
    }
    assert_eq!(matmul(&[], &[1.0, 2.0], 0, 2, 1), [0.0; 0]);
    assert_eq!(matmul(&[], &[], 2, 2, 0), [0.0; 4]);
}

#[test]
fn products_have_the_same_bits_however_the_rows_are_shared_out() {
    // A row alone is below the size at which a second thread is started; all rows together are above.
    let (m, n, k) = (64, 96, 128);
    let mut random = Random::new(2);
    let (a, b) = (random.numbers(m * k), random.numbers(k * n));
    let rows =
        |f: Product| -> Vec<f64> { (0..m).flat_map(|i| f(&a[i * k..(i + 1) * k], &b, 1, n, k)).collect() };
    assert_eq!(matmul(&a, &b, m, n, k), rows(matmul));
    assert_eq!(matmul_nt(&a, &b, m, n, k), rows(matmul_nt));
    let transposed: Vec<f64> = (0..k * m).map(|at| a[at % m * k + at / m]).collect();
    assert_eq!(matmul_tn(&transposed, &b, m, n, k), rows(matmul_tn));
}

#[test]
fn linear_backward_is_its_derivative() {
    let mut random = Random::new(3);
    for (t, d_in, d_out) in [(1, 3, 1), (4, 5, 7)] {
        let (x, w) = (random.numbers(t * d_in), random.numbers(d_in * d_out));
        let (b, delta) = (random.numbers(d_out), random.numbers(t * d_out));
        let grad = linear_backward(&delta, &x, &w, t, d_in, d_out);
        let loss = |x: &[f64], w: &[f64], b: &[f64]| inner(&linear(x, w, b, t, d_in, d_out), &delta);
        assert_gradient("dx", &x, &grad.dx, |x| loss(x, &w, &b), TOLERANCE);
        assert_gradient("dw", &w, &grad.dw, |w| loss(&x, w, &b), TOLERANCE);
        assert_gradient("db", &b, &grad.db, |b| loss(&x, &w, b), TOLERANCE);
    }
}

#[test]
fn gelu_derivative() {
    for x in [-9.0, -4.0, -1.3, -1e-3, 0.0, 1e-6, 0.5, 0.7518, 2.0, 6.0, 40.0] {
        let off = (gelu_new_derivative(x) - slope(&[x], 0, |x| gelu_new(x[0]))).abs();
        assert!(off < 1e-11, "at {x}: {off:e}");
    }
    // Far out, gelu is 0 on the left and the identity on the right.
    assert_eq!((gelu_new(-100.0), gelu_new_derivative(-100.0)), (0.0, 0.0));
    assert_eq!((gelu_new(100.0), gelu_new_derivative(100.0)), (100.0, 1.0));
    // ½·(1 + tanh(√(2/π)·1.044715)), worked out with 30 digits.
    assert!((gelu_new(1.0) - 0.841_191_990_608_276_4).abs() < 1e-15);
}

#[test]
fn layer_norm_backward_is_its_derivative() {
    let mut random = Random::new(4);
    for (t, d, eps) in [(1, 3, 1e-5), (4, 3, 1e-3), (3, 17, 1e-5)] {
        let (x, gamma, beta) = (random.numbers(t * d), random.numbers(d), random.numbers(d));
        let dy = random.numbers(t * d);
        let forward = layer_norm(&x, &gamma, &beta, t, d, eps);
        let grad = layer_norm_backward(&dy, &x, &gamma, &forward.mean, &forward.rstd, t, d);
        let loss =
            |x: &[f64], gamma: &[f64], beta: &[f64]| inner(&layer_norm(x, gamma, beta, t, d, eps).y, &dy);
        // Rows of three numbers can lie close together, where 1/σ is steep.
        assert_gradient("dx", &x, &grad.dx, |x| loss(x, &gamma, &beta), 1e-7);
        assert_gradient("dgamma", &gamma, &grad.dgamma, |gamma| loss(&x, gamma, &beta), TOLERANCE);
        assert_gradient("dbeta", &beta, &grad.dbeta, |beta| loss(&x, &gamma, beta), TOLERANCE);
    }
}

#[test]
fn layer_norm_survives_a_massive_channel() {
    // The mean is 1e8 times the spread: in one pass, E[x²] − E[x]² would have no correct digit.
    let x: Vec<f64> = [1.0, 2.0, 3.0, 4.0].iter().map(|x| x + 1e8).collect();
    let y = layer_norm(&x, &[1.0; 4], &[0.0; 4], 1, 4, 0.0).y;
    let expected: Vec<f64> = [-1.5, -0.5, 0.5, 1.5].iter().map(|x| x / 1.25_f64.sqrt()).collect();
    assert!(distance(&y, &expected) < 1e-15);
}

#[test]
fn softmax_is_a_distribution_at_any_offset() {
    let row = [0.3, -1.0, 2.0];
    let shifted: Vec<f64> = row.iter().map(|x| x + 1e6).collect();
    assert!((softmax(&row).iter().sum::<f64>() - 1.0).abs() < 1e-15);
    assert!(distance(&softmax(&shifted), &softmax(&row)) < 1e-9);
    assert!((log_sum_exp(&shifted) - 1e6 - log_sum_exp(&row)).abs() < 1e-9);
    assert_eq!(softmax(&[-1e300]), [1.0]);
}

#[test]
fn cross_entropy_delta_is_its_derivative() {
    let mut random = Random::new(5);
    for (p, v) in [(1, 1), (1, 7), (5, 13)] {
        let logits: Vec<f64> = random.numbers(p * v).iter().map(|x| 3.0 * x).collect();
        let targets: Vec<u32> = (0..p).map(|_| random.below(v) as u32).collect();
        let grad = cross_entropy(&logits, &targets, p, v);
        assert_gradient("logits", &logits, &grad.delta, |x| cross_entropy(x, &targets, p, v).loss, TOLERANCE);
    }
    // An even choice among v costs log v; logits of a thousand overflow nothing.
    assert!((cross_entropy(&[1e3; 8], &[3], 1, 8).loss - 8.0_f64.ln()).abs() < 1e-12);
}

#[test]
fn embedding_backward_is_its_derivative() {
    let mut random = Random::new(6);
    let (vocabulary, positions, d) = (5, 6, 3);
    let tokens = [4, 0, 4, 4, 1, 0]; // some twice, some never
    let (wte, wpe) = (random.numbers(vocabulary * d), random.numbers(positions * d));
    let delta = random.numbers(tokens.len() * d);
    for context in [2, 3, 6] {
        let (d_wte, d_wpe) = embedding_batch_backward(&tokens, &delta, vocabulary, positions, d, context);
        let loss = |wte: &[f64], wpe: &[f64]| inner(&embedding_batch(&tokens, wte, wpe, d, context), &delta);
        assert_gradient("wte", &wte, &d_wte, |wte| loss(wte, &wpe), TOLERANCE);
        assert_gradient("wpe", &wpe, &d_wpe, |wpe| loss(&wte, wpe), TOLERANCE);
    }
    assert_eq!(embedding(&tokens, &wte, &wpe, d), embedding_batch(&tokens, &wte, &wpe, d, 6));
    assert_eq!(
        embedding_backward(&tokens, &delta, vocabulary, positions, d),
        embedding_batch_backward(&tokens, &delta, vocabulary, positions, d, 6)
    );
}

#[test]
fn sums() {
    assert_eq!(column_sum(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2), [9.0, 12.0]);
    assert_eq!(column_sum(&[], 0, 2), [0.0, 0.0]);
    assert_eq!(add_bias(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0], 2, 2), [11.0, 22.0, 13.0, 24.0]);
    assert_eq!(global_norm(&[&[3.0], &[], &[0.0, 4.0]]), 5.0);
}

#[test]
fn adamw_by_hand() {
    let options = AdamW { lr: 0.1, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.5, step: 1 };
    let (mut param, mut m, mut v) = ([2.0], [0.0], [0.0]);
    adamw_step(&mut param, &[4.0], &mut m, &mut v, options);
    // 2·(1 − 0.05) = 1.9; the corrected moments of a first step are g and g², so the step is lr·4/(4 + ε).
    assert!((param[0] - (1.9 - 0.1 * 4.0 / (4.0 + 1e-8))).abs() < 1e-15);
    adamw_step(&mut param, &[-4.0], &mut m, &mut v, AdamW { step: 2, weight_decay: 0.0, ..options });
    // m = 0.9·0.4 − 0.4 = −0.04, corrected by 1 − 0.81; v = 0.95·0.8 + 0.8 = 1.56, corrected by 1 − 0.9025: 16.
    let expected = 1.9 - 0.1 * 4.0 / (4.0 + 1e-8) + 0.1 * (0.04 / 0.19) / (4.0 + 1e-8);
    assert!((param[0] - expected).abs() < 1e-14);
}
