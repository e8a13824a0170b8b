//! Every kernel at GPT-2 124M's sizes with 128 tokens, the products in every variant and precision.
//!
//! Each result is checked against f64 before it is timed. `cargo bench -p retrograd-bench --bench kernels`; a filter
//! selects (`-- 'gemm/subgroup/NN'`). Times are the device's own. The cases are those of `retrograd bench kernels`,
//! which prints one table in a minute; this one has Criterion's statistics and its comparison with the run before.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

mod device_time;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use device_time::{DeviceTime, open};
use retrograd_bench::NamedShape;
use retrograd_bench::kernels::{Case, Prepared, cases};
use retrograd_gpu::ops::GemmVariant;
use retrograd_gpu::{Gpu, GpuOptions};
use std::time::Duration;

const TOKENS: usize = 128;

fn bench(criterion: &mut Criterion<DeviceTime>) {
    let cases = cases(NamedShape::Gpt2, TOKENS);
    let (products, others): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(Case::is_gemm);
    for variant in GemmVariant::ALL {
        let gpu = open(GpuOptions { gemm: Some(variant), ..GpuOptions::default() });
        if gpu.capabilities().runs(variant) {
            group(criterion, &gpu, &format!("gemm/{variant}"), &products);
        } else {
            eprintln!("gemm/{variant} is left out: the adapter has no subgroups of one size");
        }
    }
    group(criterion, &open(GpuOptions::default()), "other", &others);
}

fn group(criterion: &mut Criterion<DeviceTime>, gpu: &Gpu, name: &str, cases: &[Case]) {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).sample_size(15);
    group.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    for case in cases {
        group.throughput(case.flops.map_or(Throughput::Bytes(case.bytes), Throughput::Elements));
        let kernel = case.kernel.trim_start_matches("gemm/");
        let id = format!("{kernel} {} ({})", case.shape, case.site);
        // Prepared when the filter lets it run: `iter_custom` is called with the sample's size.
        let mut prepared: Option<Prepared> = None;
        group.bench_function(id, |bencher| {
            let Prepared { pass, .. } =
                prepared.get_or_insert_with(|| case.prepare(gpu).unwrap_or_else(|error| panic!("{error}")));
            bencher.iter_custom(|runs| DeviceTime::of_pass(gpu, pass, runs).expect("a run"));
        });
        drop(prepared);
        gpu.trim();
    }
    group.finish();
}

criterion_group! { name = benches; config = Criterion::default().with_measurement(DeviceTime); targets = bench }
criterion_main!(benches);
