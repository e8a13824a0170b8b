//! burn's wgpu backend, after autotune: the products of GPT-2 124M's linear layers on the same driver.
//!
//!     burn_peer TOKENS RUNS

#[path = "../samples.rs"]
mod samples;

use burn::tensor::{Device, Distribution, Tensor};
use samples::{operations, products, report, time};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, usual: usize| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(usual);
    let (tokens, runs) = (number(1, 64), number(2, 7));
    // wgpu is the only backend that is compiled in.
    let device = Device::default();
    let random =
        |rows, columns| Tensor::<2>::random([rows, columns], Distribution::Uniform(-1.0, 1.0), &device);
    let operands: Vec<_> = products(tokens).iter().map(|&(m, n, k)| (random(m, k), random(k, n))).collect();
    let multiply = || {
        let results: Vec<_> = operands.iter().map(|(a, b)| a.clone().matmul(b.clone())).collect();
        // One element of each is read: products that nobody reads might not be computed.
        for result in results {
            let _: f32 = result.slice([0..1, 0..1]).into_scalar();
        }
    };
    // Autotune tries its kernels in the first runs.
    multiply();
    multiply();
    let times = time(runs, multiply);
    report("burn-wgpu GEMM", tokens, Some(operations(&products(tokens))), times, runs);
}
