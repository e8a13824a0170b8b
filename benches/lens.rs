//! The vocabulary lens and the singular values of a gradient at GPT-2 124M's sizes.
//!
//! `cargo bench -p retrograd-bench --bench lens`. `lens/full` reads what `retrograd lens` reads of 12 layers × 64
//! positions × 2 sites: norms aside, the five most and least probable tokens, the ranks and probabilities of two, and
//! the entropy. `lens/product` is the product with the embedding alone, cut as the lens cuts it. Times are the host's.
//! `benches/peers/torch_lens.py` has PyTorch's loop over the same vectors, NumPy's dense decomposition of the gradient.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

mod device_time;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use device_time::{DeviceTime, open};
use retrograd_bench::{ModelSource, NamedShape, flops};
use retrograd_formats::{Config, HostTensor, ProjectionRequest, TokenId};
use retrograd_gpu::ops::{Gemm, Matrix, gemm};
use retrograd_gpu::{Dtype, Gpu, GpuOptions, Pass, Recorder};
use retrograd_lens::GradientFactors;
use retrograd_model::Precision;
use std::time::Duration;

/// 12 layers × 64 positions × 2 sites.
const VECTORS: usize = 12 * 64 * 2;
/// Vectors and tokens of one product: 16 MiB of logits.
const ROWS: usize = 512;
const TOKENS: usize = 8192;

/// Numbers in [−1, 1), the same in every run.
fn random(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| draw()).collect()
}

/// Vectors × embedding alone.
fn product(gpu: &Gpu, config: &Config) -> Pass {
    let width = config.n_embd;
    // As the model holds it.
    let embedding = gpu.allocate_operand([TOKENS, width], Dtype::F32).expect("an operand");
    gpu.write(&embedding, &random(TOKENS * width, 3)).expect("an upload");
    let vectors = gpu.upload([ROWS, width], &random(ROWS * width, 4)).expect("an upload");
    let logits = gpu.tensor([ROWS, TOKENS]).expect("a tensor");
    let mut recorder = Recorder::new(gpu);
    for _ in 0..VECTORS / ROWS {
        for first in (0..config.vocab_size).step_by(TOKENS) {
            let count = TOKENS.min(config.vocab_size - first) / 4 * 4;
            let logits = logits.prefix([ROWS, count]);
            let rows = Matrix::of(&embedding).rows(0, count);
            gemm(&mut recorder, Gemm::nt(&vectors, rows, &logits)).expect("a product");
        }
    }
    recorder.finish().expect("a pass")
}

fn bench(criterion: &mut Criterion<DeviceTime>) {
    let gpu = open(GpuOptions::default());
    // The lens asks nothing of the blocks: one will do.
    let config = Config { n_layer: 1, ..NamedShape::Gpt2.config() };
    let mut group = criterion.benchmark_group("lens");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements(flops::product(VECTORS, config.vocab_size, config.n_embd)));
    group.bench_function("product", |bencher| {
        let pass = product(&gpu, &config);
        bencher.iter(|| {
            gpu.run(&pass).expect("a run");
            gpu.wait().expect("its end");
        });
    });
    group.bench_function("full", |bencher| {
        let source = ModelSource::Random { name: "gpt2, one block".to_owned(), config: config.clone() };
        let model = source.load(&gpu, Precision::F32).expect("a model");
        let vectors = HostTensor::f32([VECTORS, config.n_embd], random(VECTORS * config.n_embd, 5));
        let request = ProjectionRequest::new(vectors).ranks_of(vec![TokenId(11), TokenId(50_000)]);
        bencher.iter(|| model.project(&request).expect("readings"));
    });
    group.finish();

    let mut group = criterion.benchmark_group("gradient 768×3072");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    let factor = |width, seed| HostTensor::f32([64, width], random(64 * width, seed));
    let layer = "transformer.h.0.mlp.c_fc".parse().expect("a layer");
    let factors = GradientFactors { layer, x: factor(768, 6), delta: factor(3072, 7) };
    group.bench_function("singular values", |bencher| bencher.iter(|| factors.singular_values()));
    group.bench_function("singular values and vectors", |bencher| bencher.iter(|| factors.svd()));
    group.finish();
}

criterion_group! { name = benches; config = Criterion::default().with_measurement(DeviceTime); targets = bench }
criterion_main!(benches);
