//! Time of one whole trace (forward, backward, every R, every factor left on the device) of a random model
//! of GPT-2 124M's shape.
//!
//!     cargo bench -p retrograd-model --bench trace -- [TOKENS [RUNS [f32|f16]]]
//!
//! Prints one line of JSON: the first run (which compiles the kernels), then the median and the fastest of
//! RUNS more. `benches/peers/compare_trace.sh` runs it in turn with PyTorch doing the same.

use retrograd_formats::{Config, Objective, TokenId, TraceRequest, Weights};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::{Gpt2, Precision};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    // `cargo bench` adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |a| a.parse());
    let (tokens, runs) = (number(0, 64)?, number(1, 7)?);
    let precision: Precision = arguments.get(2).map_or(Ok(Precision::F32), |a| a.parse())?;

    let config = Config {
        vocab_size: 50257,
        n_positions: 1024,
        n_embd: 768,
        n_layer: 12,
        n_head: 12,
        n_inner: 3072,
        layer_norm_epsilon: 1e-5,
        bos_token_id: None,
        eos_token_id: None,
        tie_word_embeddings: true,
    };
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::from_values(&gpu, &config, &random_weights(&config), precision)?;
    let ids: Vec<TokenId> = (0..tokens).map(|t| TokenId((7919 * t % 50257) as u32)).collect();
    let request = TraceRequest::new(ids, Objective::Target(TokenId(11)));

    let mut times = Vec::with_capacity(runs + 1);
    for _ in 0..=runs {
        let started = Instant::now();
        let trace = model.trace(&request)?;
        gpu.wait()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        if times.len() == runs + 1 && std::env::var_os("RETROGRAD_KERNEL_TIMES").is_some() {
            print_kernels(&trace)?;
        }
    }
    let first = times.remove(0);
    times.sort_by(f64::total_cmp);
    println!(
        "{{\"name\": \"retrograd trace\", \"adapter\": \"{}\", \"gemm\": \"{}\", \"tokens\": {tokens}, \"precision\": \"{}\", \
         \"first_ms\": {first:.1}, \"median_ms\": {:.1}, \"min_ms\": {:.1}, \"runs\": {runs}}}",
        gpu.adapter().name,
        gpu.gemm_variant(),
        arguments.get(2).map_or("f32", |a| a),
        times[runs / 2],
        times[0]
    );
    Ok(())
}

/// Time per kernel, where `RETROGRAD_KERNEL_TIMES` is set.
fn print_kernels(trace: &retrograd_model::Trace) -> Result<(), Box<dyn Error>> {
    let mut kernels: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for time in trace.kernel_times()?.into_iter().flatten() {
        let sum = kernels.entry(time.kernel).or_default();
        sum.0 += time.duration_ns / 1e6;
        sum.1 += 1;
    }
    let mut kernels: Vec<_> = kernels.into_iter().collect();
    kernels.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    for (kernel, (ms, count)) in kernels {
        eprintln!("{ms:9.2} ms {count:4} × {kernel}");
    }
    Ok(())
}

/// Small pseudo-random numbers: the time does not depend on them.
fn random_weights(config: &Config) -> BTreeMap<String, Vec<f32>> {
    let mut state = 1_u32;
    let mut draw = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.03
    };
    let names = Weights::parameter_names(config, false);
    let values = names.into_iter().map(|name| {
        let count = Weights::parameter_shape(config, &name).iter().product();
        let values = (0..count).map(|_| draw()).collect();
        (name, values)
    });
    values.collect()
}
