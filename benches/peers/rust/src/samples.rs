//! Times of a piece of work, and the products of GPT-2 124M's linear layers.

use std::time::Instant;

/// (M, N, K) of the four linear layers' forward pass with T tokens.
pub fn products(tokens: usize) -> [(usize, usize, usize); 4] {
    [(tokens, 2304, 768), (tokens, 768, 768), (tokens, 3072, 768), (tokens, 768, 3072)]
}

/// Milliseconds of the first run, the median and the fastest of the others.
pub fn time(runs: usize, mut work: impl FnMut()) -> (f64, f64, f64) {
    let mut times: Vec<f64> = (0..=runs)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let first = times.remove(0);
    times.sort_by(f64::total_cmp);
    (first, times[runs / 2], times[0])
}

/// One line of JSON; `operations` for a rate.
pub fn report(name: &str, tokens: usize, operations: Option<f64>, (first, median, min): (f64, f64, f64), runs: usize) {
    let rate = operations.map(|n| format!("\"gflops\": {:.2}, ", n / median / 1e6)).unwrap_or_default();
    println!(
        "{{\"name\": \"{name}\", \"length\": {tokens}, {rate}\"first_ms\": {first:.2}, \"median_ms\": {median:.3}, \
         \"min_ms\": {min:.3}, \"runs\": {runs}}}"
    );
}

/// Operations of the products.
pub fn operations(products: &[(usize, usize, usize)]) -> f64 {
    products.iter().map(|&(m, n, k)| 2.0 * (m * n * k) as f64).sum()
}
