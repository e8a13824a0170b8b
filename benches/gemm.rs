//! GFLOP/s of every GEMM form, variant and precision at the shapes that GPT-2 and training use.
//!
//! Each result is checked against f64 before it is timed. `cargo bench -p retrograd-gpu --bench gemm`;
//! a filter selects (`-- 'subgroup/NN'`). `RETROGRAD_ADAPTER` chooses the adapter by part of its name,
//! `RETROGRAD_CHECKED=1` times kernels compiled with the driver's checks. Throughput is printed as
//! elements per second: an element is a floating-point operation, two per multiply-add.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use retrograd_gpu::ops::{Form, Gemm, GemmVariant, gemm};
use retrograd_gpu::{Gpu, GpuError, GpuOptions, Recorder, Tensor};
use retrograd_reference::ops::{matmul, matmul_nt, matmul_tn};
use std::time::{Duration, Instant};

/// A product and where it occurs.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    form: Form,
    m: usize,
    n: usize,
    k: usize,
}

const SHAPES: [Shape; 10] = [
    // GPT-2 124M, 128 tokens: the MLP forward, and backward through the same weights.
    Shape { name: "mlp c_fc", form: Form::NN, m: 128, n: 3072, k: 768 },
    Shape { name: "mlp c_proj", form: Form::NN, m: 128, n: 768, k: 3072 },
    Shape { name: "mlp c_fc backward", form: Form::NT, m: 128, n: 768, k: 3072 },
    Shape { name: "mlp c_proj backward", form: Form::NT, m: 128, n: 3072, k: 768 },
    Shape { name: "weight gradient", form: Form::TN, m: 768, n: 3072, k: 256 },
    // Training a model of width 128: 32 sequences of 64 tokens.
    Shape { name: "training forward", form: Form::NN, m: 2048, n: 512, k: 128 },
    Shape { name: "training backward", form: Form::NT, m: 2048, n: 128, k: 512 },
    Shape { name: "training gradient", form: Form::TN, m: 128, n: 512, k: 2048 },
    // One token at a time.
    Shape { name: "decode", form: Form::NN, m: 1, n: 3072, k: 768 },
    // Widths off every tile.
    Shape { name: "odd", form: Form::NN, m: 127, n: 765, k: 767 },
];

/// Values in [−1, 1) that repeat after a prime number of elements.
fn values(count: usize, first: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + first) * 7919 % 1009) as f32 / 504.5 - 1.0).collect()
}

fn halves(values: &[f32]) -> Vec<u16> {
    values.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect()
}

/// Largest error against f64 relative to the largest result.
fn error(shape: &Shape, a: &[f32], b: &[f32], found: &[f32]) -> f64 {
    let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let (a, b) = (wide(a), wide(b));
    let Shape { m, n, k, .. } = *shape;
    let wanted = match shape.form {
        Form::NN => matmul(&a, &b, m, n, k),
        Form::NT => matmul_nt(&a, &b, m, n, k),
        Form::TN => matmul_tn(&a, &b, m, n, k),
    };
    let largest = wanted.iter().fold(0.0f64, |l, v| l.max(v.abs()));
    found.iter().zip(&wanted).fold(0.0f64, |e, (f, w)| e.max((f64::from(*f) - w).abs())) / largest
}

fn bench(criterion: &mut Criterion) {
    for variant in GemmVariant::ALL {
        let options = GpuOptions {
            adapter: std::env::var("RETROGRAD_ADAPTER").ok(),
            checked: std::env::var_os("RETROGRAD_CHECKED").is_some(),
            gemm: Some(variant),
            ..GpuOptions::default()
        };
        let gpu = Gpu::open(&options).expect("an adapter");
        if variant == GemmVariant::Subgroup && gpu.capabilities().subgroup.is_none() {
            eprintln!("{gpu:?} has no fixed subgroup size: variant left out");
            continue;
        }
        eprintln!("{variant} on {gpu:?}, checked: {}", gpu.checked());
        let mut group = criterion.benchmark_group(variant.to_string());
        group.sampling_mode(SamplingMode::Flat).sample_size(15);
        group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
        for shape in &SHAPES {
            for f16 in [false, true] {
                if f16 && shape.form == Form::TN {
                    continue;
                }
                let Shape { name, form, m, n, k } = *shape;
                let precision = if f16 { "f16" } else { "f32" };
                let id = format!("{form:?} {m}×{n}×{k} {precision} ({name})");
                group.throughput(Throughput::Elements((2 * m * n * k) as u64));
                // Set up when the filter lets it run: `iter_custom` is called with the sample's size.
                let mut case: Option<Case> = None;
                group.bench_function(id, |bencher| {
                    let case = case.get_or_insert_with(|| Case::new(&gpu, shape, f16).expect("a product"));
                    bencher.iter_custom(|iterations| {
                        let start = Instant::now();
                        for _ in 0..iterations {
                            gpu.run(&case.pass).expect("a run");
                        }
                        gpu.wait().expect("the runs end");
                        start.elapsed()
                    });
                });
            }
        }
        group.finish();
    }
}

/// A product that has run once and was right.
struct Case {
    pass: retrograd_gpu::Pass,
}

impl Case {
    fn new(gpu: &Gpu, shape: &Shape, f16: bool) -> Result<Case, GpuError> {
        let Shape { form, m, n, k, .. } = *shape;
        let (a_dims, b_dims) = match form {
            Form::NN => ([m, k], [k, n]),
            Form::NT => ([m, k], [n, k]),
            Form::TN => ([k, m], [k, n]),
        };
        let a_host = values(m * k, 0);
        let mut b_host = values(n * k, 31);
        let a = gpu.upload(a_dims, &a_host)?;
        let b: Tensor = if f16 {
            let bits = halves(&b_host);
            b_host = bits.iter().map(|&v| half::f16::from_bits(v).to_f32()).collect();
            gpu.upload_f16(b_dims, &bits)?
        } else {
            gpu.upload(b_dims, &b_host)?
        };
        let c = gpu.tensor([m, n])?;
        let mut recorder = Recorder::new(gpu);
        let op = match form {
            Form::NN => Gemm::nn(&a, &b, &c),
            Form::NT => Gemm::nt(&a, &b, &c),
            Form::TN => Gemm::tn(&a, &b, &c),
        };
        gemm(&mut recorder, op)?;
        let pass = recorder.finish()?;
        gpu.run(&pass)?;
        let error = error(shape, &a_host, &b_host, &gpu.read(&c)?);
        // K roundings of partial sums that grow as √K: 8 standard deviations.
        let bound = 8.0 * ((k + 16) as f64).sqrt() / f64::from(1u32 << 24);
        assert!(error <= bound, "{form:?} {m}×{n}×{k}: error {error:.2e} exceeds {bound:.2e}");
        Ok(Case { pass })
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
