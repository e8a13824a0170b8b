//! A whole trace (forward, backward, every R, every factor left on the device) and a training step of a random model
//! of GPT-2 124M's shape.
//!
//! `cargo bench -p retrograd-bench --bench trace`; a filter selects (`-- 'trace/64'`). `RETROGRAD_SHAPE` names another
//! shape. Each trace is run once and its R held against what always holds of it before it is timed: rows sum to 0,
//! nothing stands above the diagonal. Times are the host's: submission is part of a trace. `retrograd bench trace` has
//! the same with peak memory and times by kernel; `benches/peers/run.sh` runs it in turn with PyTorch.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

mod device_time;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use device_time::{DeviceTime, open};
use retrograd_bench::{ModelSource, NamedShape, flops};
use retrograd_formats::{BlockSite, Layer, Objective, Site, TokenId, TraceRead, TraceRequest};
use retrograd_gpu::GpuOptions;
use retrograd_model::train::{Dataset, TrainOptions, Trainer};
use retrograd_model::{Precision, Trace};
use std::time::Duration;

fn bench(criterion: &mut Criterion<DeviceTime>) {
    let shape: NamedShape = std::env::var("RETROGRAD_SHAPE").map_or(NamedShape::Gpt2, |name| {
        name.parse().unwrap_or_else(|error: String| panic!("RETROGRAD_SHAPE: {error}"))
    });
    let config = shape.config();
    let gpu = open(GpuOptions::default());
    let ids =
        |count: usize| (0..count).map(|t| TokenId((7919 * t % config.vocab_size) as u32)).collect::<Vec<_>>();

    let mut group = criterion.benchmark_group("trace");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    for precision in [Precision::F32, Precision::F16] {
        let mut model = None;
        for tokens in [64, 256, 1024].map(|tokens| config.n_positions.min(tokens)) {
            let request = TraceRequest::new(ids(tokens), Objective::Target(TokenId(11)));
            let operations = flops::trace(&config, tokens, tokens - 1, 1);
            group.throughput(Throughput::Elements(operations));
            let id = BenchmarkId::new(format!("{precision:?}").to_lowercase(), tokens);
            group.bench_function(id, |bencher| {
                let model = model.get_or_insert_with(|| {
                    let model = ModelSource::from(shape).load(&gpu, precision).expect("a model");
                    check(&model.trace(&request).expect("a trace"));
                    model
                });
                bencher.iter(|| {
                    let trace = model.trace(&request).expect("a trace");
                    gpu.wait().expect("its end");
                    trace
                });
            });
        }
    }
    group.finish();

    let (batch, context) = (4, 64);
    let mut group = criterion.benchmark_group("train");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(5));
    // Three products a weight and token: forward, its input's gradient, its own.
    group.throughput(Throughput::Elements(flops::product(batch * context, 3, config.parameter_count())));
    let mut trainer = None;
    group.bench_function(format!("step {batch}×{context}"), |bencher| {
        let trainer = trainer.get_or_insert_with(|| {
            let text = Dataset::from_ids(ids(4 * batch * context + 1).iter().map(|id| id.0).collect());
            let options =
                TrainOptions { steps: u64::MAX, batch, context, lr: 1e-5, ..TrainOptions::default() };
            Trainer::from_config(&gpu, &config, text, options).expect("a trainer")
        });
        bencher.iter(|| trainer.step().expect("a step"));
    });
    group.finish();
}

/// Rows of R sum to 0, and above the diagonal it is exactly 0.
fn check(trace: &Trace) {
    let reversed = trace.read(Site::Block(Layer(0), BlockSite::Reversed)).expect("R of the first layer");
    let (values, t) = (reversed.as_f32(), trace.meta().ids.len());
    let largest = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    assert!(largest > 0.0, "R is 0 everywhere");
    for (at, row) in values.chunks_exact(t).enumerate() {
        let (below, above) = row.split_at(at % t + 1);
        let sum: f64 = below.iter().map(|&v| f64::from(v)).sum();
        // Each of up to T summands is rounded once.
        let bound = f64::from(largest) * t as f64 * f64::from(f32::EPSILON);
        assert!(sum.abs() <= bound, "row {at} of R sums to {sum:e}, more than {bound:e}");
        assert!(above.iter().all(|&v| v == 0.0), "row {at} of R looks ahead");
    }
}

criterion_group! { name = benches; config = Criterion::default().with_measurement(DeviceTime); targets = bench }
criterion_main!(benches);
