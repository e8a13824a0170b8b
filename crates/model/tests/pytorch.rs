//! Every tensor of a trace against PyTorch's float64 autograd, on lavapipe or whatever adapter there is.
//!
//! An f32 result is right when its error is of the size of PyTorch-f32's own: at most 4 times that, or
//! 2e-6 where PyTorch happened to do better than f32 rounding lets one expect.

mod support;

use retrograd_formats::{BlockSite, Site, TraceRead};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::{Gpt2, Precision};
use support::{TRACES, fixture, gpu, json, read_f64, relative_error, request};

const FLOOR: f64 = 2e-6;

#[test]
fn every_tensor_of_every_fixture_is_as_exact_as_pytorch() {
    let mut failures = Vec::new();
    for name in TRACES {
        let dir = fixture(name);
        let expected = read_f64(&dir.join("expected.safetensors"));
        let torch_error = json(&dir.join("torch_f32_error.json"));
        let model = Gpt2::load(&gpu(), &dir, Precision::F32).unwrap();
        let trace = model.trace(&request(name)).unwrap();
        let sites = trace.sites();
        assert_eq!(sites, Site::all(model.config().n_layer), "{name}: every site is captured");
        let (mut worst, mut worst_ratio) = ((0.0, String::new()), 0.0_f64);
        for (site, tensor) in sites.iter().zip(trace.read_all(&sites).unwrap()) {
            if *site == Site::Tokens {
                continue;
            }
            let site = site.to_string();
            let error = relative_error(tensor.as_f32(), &expected[&site]);
            let torch = torch_error[&site].as_f64().unwrap();
            if error > worst.0 {
                worst = (error, site.clone());
            }
            worst_ratio = worst_ratio.max(error / torch.max(FLOOR / 4.0));
            if error > (4.0 * torch).max(FLOOR) {
                failures.push(format!("{name} {site}: error {error:.2e}, PyTorch-f32 {torch:.2e}"));
            }
        }
        println!("{name}: worst {:.2e} ({}), {worst_ratio:.2} × PyTorch-f32", worst.0, worst.1);
    }
    assert!(failures.is_empty(), "{} tensors are off:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn reversed_attention_is_exactly_zero_above_the_diagonal_and_its_rows_sum_to_zero() {
    for name in TRACES {
        let model = Gpt2::load(&gpu(), fixture(name), Precision::F32).unwrap();
        let trace = model.trace(&request(name)).unwrap();
        let t = trace.meta().ids.len();
        for layer in 0..model.config().n_layer {
            let site = |site| Site::Block(retrograd_formats::Layer(layer), site);
            for (map, is_reversed) in [(BlockSite::Pattern, false), (BlockSite::Reversed, true)] {
                let map = trace.read(site(map)).unwrap();
                let largest = map.as_f32().iter().fold(0.0_f64, |most, x| most.max(f64::from(x.abs())));
                for (row, values) in map.as_f32().chunks_exact(t).enumerate() {
                    let (below, above) = values.split_at(row % t + 1);
                    assert!(above.iter().all(|x| *x == 0.0), "{name} layer {layer}");
                    if is_reversed {
                        // The subtraction cancels, so that rounding is of the size of the map, not of the sum.
                        let sum: f64 = below.iter().map(|x| f64::from(*x)).sum();
                        assert!(sum.abs() <= FLOOR * largest, "{name} layer {layer}: {sum:e} of {largest:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn two_runs_are_bit_identical_and_the_second_allocates_nothing() {
    // A device of its own: other tests allocate on the shared one meanwhile.
    let gpu = Gpu::open(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap();
    for name in ["next_token_64", "massive", "patched"] {
        let model = Gpt2::load(&gpu, fixture(name), Precision::F32).unwrap();
        let request = request(name);
        let read = || {
            let trace = model.trace(&request).unwrap();
            trace.read_all(&trace.sites()).unwrap()
        };
        let first = read();
        let before = gpu.arena_stats();
        let second = read();
        assert_eq!(first, second, "{name}");
        assert_eq!(before, gpu.arena_stats(), "{name}");
    }
}
