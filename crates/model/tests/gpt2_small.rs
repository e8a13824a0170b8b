//! A model of GPT-2 124M's shape at T = 128 under the WebGPU default limits: the vocabulary comes in
//! ranges, no optional feature is used. Against the f64 oracle, beside PyTorch-f32's own error
//! (`tests/fixtures/gpt2_small_error.py`, which draws the same weights).

mod support;

use retrograd_formats::{Config, Objective, Site, TokenId, TraceRead, TraceRequest, Weights};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::{Gpt2, Precision};
use retrograd_reference::ReferenceModel;
use std::collections::BTreeMap;
use support::{fixture, json, relative_error};

const TOKENS: usize = 128;

fn config() -> Config {
    Config {
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
    }
}

/// Numbers in [−1, 1) that are multiples of 2⁻²³, as the Python script draws them.
fn uniform(salt: u32, index: u32) -> f32 {
    let mut h = index.wrapping_mul(0x9e37_79b9).wrapping_add(salt.wrapping_mul(0x85eb_ca6b));
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    (f64::from(h >> 8) / f64::from(1 << 23) - 1.0) as f32
}

/// Matrices ±0.05, biases ±0.02, norms 1 ± 0.1.
fn weights(config: &Config) -> BTreeMap<String, Vec<f32>> {
    let names = Weights::parameter_names(config, false);
    let drawn = names.into_iter().zip(1..).map(|(name, salt)| {
        let shape = Weights::parameter_shape(config, &name);
        let count = shape.iter().product::<usize>() as u32;
        let draw = |index| {
            let x = uniform(salt, index);
            match (shape.len(), name.ends_with("weight")) {
                (2, _) => x * 0.05,
                (_, true) => 1.0 + 0.1 * x,
                (_, false) => x * 0.02,
            }
        };
        let values = (0..count).map(draw).collect();
        (name, values)
    });
    drawn.collect()
}

#[test]
fn a_124m_trace_under_the_webgpu_default_limits_is_as_exact_as_pytorch() {
    let config = config();
    let values = weights(&config);
    let ids: Vec<TokenId> = (0..TOKENS).map(|t| TokenId(((7919 * t + 13) % 50257) as u32)).collect();
    let request = TraceRequest::new(ids, Objective::Completion { start: TOKENS - 2 });

    let options = GpuOptions { webgpu_defaults: true, checked: true, ..GpuOptions::default() };
    let gpu = Gpu::open(&options).unwrap();
    assert_eq!(gpu.capabilities().max_binding, 128 << 20);
    let model = Gpt2::from_values(&gpu, &config, &values, Precision::F32).unwrap();
    let started = std::time::Instant::now();
    let trace = model.trace(&request).unwrap();
    println!("{}: loss {}, {:.1} s", gpu.adapter(), trace.loss().unwrap(), started.elapsed().as_secs_f64());

    let exact = values.into_iter().map(|(name, values)| (name, values.into_iter().map(f64::from).collect()));
    let oracle = ReferenceModel::from_parts(config, exact).unwrap().trace(&request).unwrap();
    let torch_error = json(&fixture("gpt2_small").join("torch_f32_error.json"));
    let (mut failures, mut worst, mut worst_ratio) = (Vec::new(), 0.0_f64, 0.0_f64);
    for site in trace.sites() {
        if site == Site::Tokens {
            continue;
        }
        let tensor = trace.read(site).unwrap();
        let error = relative_error(tensor.as_f32(), oracle.get(site).unwrap());
        let torch = torch_error[site.to_string()].as_f64().unwrap();
        (worst, worst_ratio) = (worst.max(error), worst_ratio.max(error / torch));
        if error > (4.0 * torch).max(2e-6) {
            failures.push(format!("{site}: error {error:.2e}, PyTorch-f32 {torch:.2e}"));
        }
    }
    println!("worst {worst:.2e}, at most {worst_ratio:.2} × PyTorch-f32");
    assert!(failures.is_empty(), "{} tensors are off:\n{}", failures.len(), failures.join("\n"));
}
