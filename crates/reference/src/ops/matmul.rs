//! The three products that the forward and the backward pass need, without transposing anything.

use std::num::NonZero;
use std::thread;

/// Rows of the output that are computed together, so that a row of `b` is read once for all of them.
const ROWS: usize = 8;

/// Below this many multiplications a thread costs more than it saves (tens of microseconds).
const WORTH_A_THREAD: usize = 1 << 18;

/// `C = A·B`: `a` is `[m, k]`, `b` is `[k, n]`, the result `[m, n]`.
///
/// Each element is summed in the order of k, however many threads there are.
pub fn matmul(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    assert_eq!((a.len(), b.len()), (m * k, k * n), "matmul: [{m}, {k}]·[{k}, {n}]");
    in_row_panels(m, n, k, |first, c| {
        accumulate(c, n, k, b, |row, p| a[(first + row) * k + p]);
    })
}

/// `C = A·Bᵀ`: `a` is `[m, k]`, `b` is `[n, k]`, the result `[m, n]`.
///
/// Each element is a dot product in eight interleaved partial sums, however many threads there are.
pub fn matmul_nt(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    assert_eq!((a.len(), b.len()), (m * k, n * k), "matmul_nt: [{m}, {k}]·[{n}, {k}]ᵀ");
    in_row_panels(m, n, k, |first, c| {
        for j in 0..n {
            let b_row = &b[j * k..][..k]; // (k), read once for all rows of the panel
            for (row, c_row) in c.chunks_exact_mut(n).enumerate() {
                c_row[j] = dot(&a[(first + row) * k..][..k], b_row);
            }
        }
    })
}

/// `C = Aᵀ·B`: `a` is `[k, m]`, `b` is `[k, n]`, the result `[m, n]`.
///
/// Each element is summed in the order of k, however many threads there are.
pub fn matmul_tn(a: &[f64], b: &[f64], m: usize, n: usize, k: usize) -> Vec<f64> {
    assert_eq!((a.len(), b.len()), (k * m, k * n), "matmul_tn: [{k}, {m}]ᵀ·[{k}, {n}]");
    in_row_panels(m, n, k, |first, c| {
        accumulate(c, n, k, b, |row, p| a[p * m + first + row]);
    })
}

/// Allots the output `[m, n]`, hands each thread a contiguous share of its rows, and calls
/// `compute(first_row, panel)` on panels of at most [`ROWS`] rows of it.
fn in_row_panels(m: usize, n: usize, k: usize, compute: impl Fn(usize, &mut [f64]) + Sync) -> Vec<f64> {
    let mut out = vec![0.0; m * n]; // (m, n)
    if out.is_empty() {
        return out;
    }
    let threads = match m * n * k / WORTH_A_THREAD {
        0 | 1 => 1, // without asking for the number of cores, which itself takes longer than a small product
        worth => thread::available_parallelism().map_or(1, NonZero::get).min(worth),
    };
    let share = m.div_ceil(threads).next_multiple_of(ROWS); // rows per thread
    let panels = |first: usize, rows: &mut [f64]| {
        for (i, panel) in rows.chunks_mut(ROWS * n).enumerate() {
            compute(first + i * ROWS, panel);
        }
    };
    if share >= m {
        panels(0, &mut out);
    } else {
        let panels = &panels;
        thread::scope(|scope| {
            for (i, rows) in out.chunks_mut(share * n).enumerate() {
                scope.spawn(move || panels(i * share, rows));
            }
        });
    }
    out
}

/// `c[row] += Σ_p a(row, p)·b[p]` for the rows of a panel, four steps of p at a time.
fn accumulate(c: &mut [f64], n: usize, k: usize, b: &[f64], a: impl Fn(usize, usize) -> f64) {
    let mut p = 0;
    while p + 4 <= k {
        let [b0, b1, b2, b3] = [0, 1, 2, 3].map(|i| &b[(p + i) * n..][..n]); // (n) each
        for (row, c_row) in c.chunks_exact_mut(n).enumerate() {
            let [a0, a1, a2, a3] = [0, 1, 2, 3].map(|i| a(row, p + i));
            for ((((c, b0), b1), b2), b3) in c_row.iter_mut().zip(b0).zip(b1).zip(b2).zip(b3) {
                *c = *c + a0 * b0 + a1 * b1 + a2 * b2 + a3 * b3;
            }
        }
        p += 4;
    }
    for p in p..k {
        for (row, c_row) in c.chunks_exact_mut(n).enumerate() {
            let a = a(row, p);
            for (c, b) in c_row.iter_mut().zip(&b[p * n..][..n]) {
                *c += a * b;
            }
        }
    }
}

/// `Σ x·y` in eight partial sums, so that the compiler may use vector registers.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let (x8, y8) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f64 = x8.remainder().iter().zip(y8.remainder()).map(|(x, y)| x * y).sum();
    let mut sums = [0.0; 8];
    for (x, y) in x8.zip(y8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}
