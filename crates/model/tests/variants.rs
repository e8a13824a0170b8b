//! The same trace by every GEMM variant, in f16, with little captured, with its patterns recomputed, and
//! for a caller's own gradient.

mod support;

use retrograd_formats::{
    BlockSite, Capture, Config, Layer, Objective, Site, TokenId, TraceRead, TraceRequest, Weights,
};
use retrograd_gpu::ops::GemmVariant;
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::{Gpt2, Precision};
use retrograd_reference::ReferenceModel;
use std::collections::BTreeMap;
use support::{fixture, gpu, json, read_f64, relative_error, request};

#[test]
fn every_gemm_variant_is_as_exact() {
    for variant in GemmVariant::ALL {
        let options = GpuOptions { gemm: Some(variant), checked: true, ..GpuOptions::default() };
        let gpu = match Gpu::open(&options) {
            Ok(gpu) => gpu,
            Err(error) => {
                // Only the subgroup variant may be missing, and only where subgroups vary in size.
                assert_eq!(variant, GemmVariant::Subgroup, "{error}");
                println!("skipped: {error}");
                continue;
            }
        };
        for name in ["bf16", "f16_shards", "next_token_96", "massive"] {
            let expected = read_f64(&fixture(name).join("expected.safetensors"));
            let torch_error = json(&fixture(name).join("torch_f32_error.json"));
            let model = Gpt2::load(&gpu, fixture(name), Precision::F32).unwrap();
            let trace = model.trace(&request(name)).unwrap();
            for site in trace.sites().into_iter().filter(|site| *site != Site::Tokens) {
                let error = relative_error(trace.read(site).unwrap().as_f32(), &expected[&site.to_string()]);
                let torch = torch_error[site.to_string()].as_f64().unwrap();
                assert!(
                    error <= (4.0 * torch).max(2e-6),
                    "{variant} {name} {site}: {error:.2e}, {torch:.2e}"
                );
            }
        }
    }
}

/// A model's weights in f64, matrices rounded to f16 as [`Precision::F16`] stores them.
fn rounded_to_f16(name: &str) -> ReferenceModel {
    let config = Config::from_dir(&fixture(name)).unwrap();
    let weights = Weights::open(&fixture(name), &config).unwrap();
    let untied = weights.untied_head();
    let values = Weights::parameter_names(&config, untied).into_iter().map(|name| {
        let view = weights.get(&name).unwrap();
        let matrix = view.shape.len() == 2 && !name.ends_with("wpe.weight");
        let values = if matrix {
            let bits = view.to_f16_bits().unwrap();
            bits.into_iter().map(|bits| half::f16::from_bits(bits).to_f64()).collect()
        } else {
            view.to_f64().unwrap()
        };
        (name, values)
    });
    ReferenceModel::from_parts(config.clone(), values.collect::<Vec<_>>()).unwrap()
}

#[test]
fn f16_matrices_give_the_trace_of_the_rounded_model() {
    // Odd widths (one_head, bf16) leave matrices whose rows start inside a word.
    for name in ["one_head", "bf16", "f16_shards", "untied", "three_layers"] {
        let model = Gpt2::load(&gpu(), fixture(name), Precision::F16).unwrap();
        let request = request(name);
        let trace = model.trace(&request).unwrap();
        let oracle = rounded_to_f16(name).trace(&request).unwrap();
        let torch_error = json(&fixture(name).join("torch_f32_error.json"));
        for site in trace.sites().into_iter().filter(|site| *site != Site::Tokens) {
            let error = relative_error(trace.read(site).unwrap().as_f32(), oracle.get(site).unwrap());
            let torch = torch_error[site.to_string()].as_f64().unwrap();
            assert!(error <= (4.0 * torch).max(2e-6), "{name} {site}: {error:.2e}");
        }
    }
}

#[test]
fn what_is_captured_does_not_change_what_is_computed() {
    for name in ["three_layers", "next_token_64"] {
        let model = Gpt2::load(&gpu(), fixture(name), Precision::F32).unwrap();
        let everything = model.trace(&request(name)).unwrap();
        for globs in ["attn.reversed", "mlp.c_fc.delta,resid_pre", "*.delta", "logits"] {
            let capture = Capture::all().sites(globs).unwrap();
            let some = model.trace(&request(name).capture(capture.clone())).unwrap();
            for site in some.sites() {
                assert!(capture.keeps(site));
                assert_eq!(some.read(site).unwrap(), everything.read(site).unwrap(), "{name} {globs} {site}");
            }
            let expected = everything.sites().into_iter().filter(|site| capture.keeps(*site));
            assert_eq!(some.sites(), expected.collect::<Vec<_>>());
        }
        let last = Layer(model.config().n_layer - 1);
        let capture = Capture::all().layers(&last.to_string()).unwrap();
        let one = model.trace(&request(name).capture(capture)).unwrap();
        assert!(one.read(Site::Block(last, BlockSite::Reversed)).is_ok());
        if last.0 > 0 {
            let error = one.read(Site::Block(Layer(0), BlockSite::Reversed)).unwrap_err().to_string();
            assert!(error.contains("not captured"), "{error}");
        }
    }
}

#[test]
fn patterns_too_large_to_keep_are_computed_again() {
    // Five layers of 32 maps of 1024² values are 671 MB: beyond what is kept unasked.
    let config = Config {
        vocab_size: 97,
        n_positions: 1024,
        n_embd: 32,
        n_layer: 5,
        n_head: 32,
        n_inner: 32,
        layer_norm_epsilon: 1e-5,
        bos_token_id: None,
        eos_token_id: None,
        tie_word_embeddings: true,
    };
    let values: BTreeMap<String, Vec<f32>> = Weights::parameter_names(&config, false)
        .into_iter()
        .zip(1_u32..)
        .map(|(name, salt)| {
            let shape = Weights::parameter_shape(&config, &name);
            let count = shape.iter().product::<usize>() as u32;
            let draw = |i: u32| {
                let hash = (i.wrapping_add(salt << 20)).wrapping_mul(2_654_435_761) >> 8;
                let x = hash as f32 / (1 << 23) as f32 - 1.0;
                if shape.len() == 1 && name.ends_with("weight") { 1.0 + 0.1 * x } else { 0.5 * x }
            };
            (name.clone(), (0..count).map(draw).collect())
        })
        .collect();
    // Without the driver's checks: the largest maps of the suite.
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let model = Gpt2::from_values(&gpu, &config, &values, Precision::F32).unwrap();
    let ids: Vec<TokenId> = (0..1024).map(|t| TokenId(t * t % 97)).collect();
    let deltas = Site::all(5).into_iter().filter(|site| site.to_string().ends_with("resid_pre.delta"));
    let deltas: Vec<Site> = deltas.collect();
    let request = TraceRequest::new(ids, Objective::NextToken);
    let few = model.trace(&request.clone().capture(Capture::only(deltas.clone()))).unwrap();
    let few = few.read_all(&deltas).unwrap();
    let patterns = Site::all(5).into_iter().filter(|site| site.to_string().ends_with("attn.pattern"));
    let all = model.trace(&request.capture(Capture::only(deltas.iter().copied().chain(patterns)))).unwrap();
    assert_eq!(few, all.read_all(&deltas).unwrap());
    assert!(few.iter().all(|tensor| tensor.norm() > 0.0));
}

#[test]
fn a_callers_own_gradient_on_the_logits() {
    let name = "next_token_9";
    let model = Gpt2::load(&gpu(), fixture(name), Precision::F32).unwrap();
    let oracle = ReferenceModel::load(&fixture(name)).unwrap();
    let vocab = model.config().vocab_size;
    let delta: Vec<f32> = (0..3 * vocab).map(|i| ((i * 31 % 17) as f32 - 8.0) / 8.0).collect();
    let objective = Objective::Delta { first_position: 4, delta };
    let request = TraceRequest::new(request(name).ids, objective);
    let (trace, expected) = (model.trace(&request).unwrap(), oracle.trace(&request).unwrap());
    for site in trace.sites().into_iter().filter(|site| *site != Site::Tokens) {
        let error = relative_error(trace.read(site).unwrap().as_f32(), expected.get(site).unwrap());
        assert!(error < 4e-6, "{site}: {error:.2e}");
    }
}
