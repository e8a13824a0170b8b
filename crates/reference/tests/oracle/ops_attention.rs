//! Attention: its backward against finite differences, and the identities of Reversed Attention.

use crate::finite_difference::{assert_gradient, distance, inner};
use crate::random::Random;
use retrograd_reference::ops::*;

/// (T, D, H): one token; one head; heads of one column; widths that divide nothing.
const SHAPES: [(usize, usize, usize); 6] =
    [(1, 3, 1), (1, 6, 3), (4, 3, 3), (5, 7, 1), (6, 15, 5), (9, 33, 3)];

/// A map for patching, zero above the diagonal.
fn lower_triangle(random: &mut Random, h: usize, t: usize) -> Vec<f64> {
    (0..h * t * t).map(|at| if at % t <= at / t % t { random.number() } else { 0.0 }).collect()
}

#[test]
fn backward_is_the_derivative_with_and_without_a_patch() {
    let mut random = Random::new(10);
    for (t, d, h) in SHAPES {
        let map = lower_triangle(&mut random, h, t);
        for patch in [None, Some((map.as_slice(), -3.0))] {
            let (qkv, d_out) = (random.numbers(t * 3 * d), random.numbers(t * d));
            let forward = attention(&qkv, t, d, h, patch);
            let grad = attention_backward(&qkv, &forward.pattern, patch, &d_out, t, d, h);
            let loss = |qkv: &[f64]| inner(&attention(qkv, t, d, h, patch).out, &d_out);
            assert_gradient(&format!("qkv at {t} {d} {h}"), &qkv, &grad.d_qkv, loss, 1e-9);
        }
    }
}

#[test]
fn identities_of_reversed_attention() {
    let mut random = Random::new(11);
    for (t, d, h) in SHAPES {
        let map = lower_triangle(&mut random, h, t);
        for patch in [None, Some((map.as_slice(), -3.0))] {
            let (qkv, d_out) = (random.numbers(t * 3 * d), random.numbers(t * d));
            let a = attention(&qkv, t, d, h, patch).pattern;
            let r = attention_backward(&qkv, &a, patch, &d_out, t, d, h).reversed;
            for (row, (a, r)) in a.chunks(t).zip(r.chunks(t)).enumerate() {
                let i = row % t;
                assert!((a.iter().sum::<f64>() - 1.0).abs() < 1e-14, "row {row} of A sums to 1");
                assert!(r.iter().sum::<f64>().abs() < 1e-14, "row {row} of R sums to 0");
                assert!(
                    a[i + 1..].iter().chain(&r[i + 1..]).all(|x| x.to_bits() == 0),
                    "row {row}: exact zeros"
                );
            }
        }
    }
}

#[test]
fn row_sum_of_a_times_e_is_d_o_times_o_only_without_a_patch() {
    let (t, d, h) = (5, 12, 3);
    let mut random = Random::new(12);
    let (qkv, d_out) = (random.numbers(t * 3 * d), random.numbers(t * d));
    let map = lower_triangle(&mut random, h, t);
    let d_head = d / h;
    // From R = A ⊙ (E − rowsum)/√d and rows that contain the first position: E_i0 = ∂o_i·v_0.
    let row_sum = |r: &[f64], a: &[f64], row: usize| {
        let (head, i) = (row / t, row % t);
        let e_i0: f64 =
            (0..d_head).map(|c| d_out[i * d + head * d_head + c] * qkv[2 * d + head * d_head + c]).sum();
        e_i0 - r[row * t] * (d_head as f64).sqrt() / a[row * t]
    };
    let d_o_times_o = |out: &[f64], row: usize| {
        let (head, i) = (row / t, row % t);
        let columns = i * d + head * d_head..i * d + (head + 1) * d_head;
        inner(&d_out[columns.clone()], &out[columns])
    };
    let apart = |patch: Option<(&[f64], f64)>| -> Vec<f64> {
        let forward = attention(&qkv, t, d, h, patch);
        let r = attention_backward(&qkv, &forward.pattern, patch, &d_out, t, d, h).reversed;
        (0..h * t)
            .map(|row| (row_sum(&r, &forward.pattern, row) - d_o_times_o(&forward.out, row)).abs())
            .collect()
    };
    assert!(apart(None).iter().all(|apart| *apart < 1e-13));
    assert!(apart(Some((&map, -3.0))).iter().all(|apart| *apart > 1e-3));
}

#[test]
fn a_single_token_has_nothing_to_choose() {
    let mut random = Random::new(13);
    let (qkv, d_out) = (random.numbers(3 * 6), random.numbers(6));
    let forward = attention(&qkv, 1, 6, 3, None);
    assert_eq!(forward.pattern, [1.0; 3]);
    assert_eq!(forward.out, qkv[12..]); // o = v
    let grad = attention_backward(&qkv, &forward.pattern, None, &d_out, 1, 6, 3);
    assert_eq!(grad.reversed, [0.0; 3]);
    assert_eq!(grad.d_qkv[..12], [0.0; 12]); // ∂q and ∂k
    assert_eq!(grad.d_qkv[12..], d_out); // ∂v
}

#[test]
fn the_future_is_not_seen() {
    let (t, d, h) = (6, 6, 3);
    let mut random = Random::new(14);
    let mut qkv = random.numbers(t * 3 * d);
    let before = attention(&qkv, t, d, h, None);
    qkv[(t - 1) * 3 * d..].fill(9.0); // the last position changes
    let after = attention(&qkv, t, d, h, None);
    assert_eq!(before.out[..(t - 1) * d], after.out[..(t - 1) * d]);
    // Infinite scores above the diagonal are not read; neither is a map there.
    let scores: Vec<f64> = (0..4).map(|at| if at == 1 { f64::NAN } else { 0.0 }).collect();
    assert_eq!(causal_softmax(&scores, 1, 2), [1.0, 0.0, 0.5, 0.5]);
    assert_eq!(patched_pattern(&[1.0, 0.0, 0.5, 0.5], Some((&[1.0; 4], 2.0)), 1, 2), [3.0, 0.0, 2.5, 2.5]);
}

#[test]
fn splitting_and_merging_heads_are_inverse() {
    let x: Vec<f64> = (0..24).map(f64::from).collect();
    let split = split_heads(&x, 4, 6, 2);
    assert_eq!(split[..6], [0.0, 1.0, 2.0, 6.0, 7.0, 8.0]);
    assert_eq!(distance(&merge_heads(&split, 4, 6, 2), &x), 0.0);
}
