//! Criterion by the device's clock: nanoseconds that its timestamps say, or the host's where it has none.

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};
use retrograd_bench::{BenchError, ns_of_runs};
use retrograd_gpu::{Gpu, GpuOptions, Pass};
use std::time::Instant;

/// Opens the device that the environment asks for: `RETROGRAD_ADAPTER` is part of its name, `RETROGRAD_CHECKED=1`
/// compiles kernels with the driver's checks.
pub fn open(options: GpuOptions) -> Gpu {
    let options = GpuOptions {
        adapter: std::env::var("RETROGRAD_ADAPTER").ok(),
        checked: std::env::var_os("RETROGRAD_CHECKED").is_some(),
        ..options
    };
    let gpu = Gpu::open(&options).expect("an adapter");
    let clock =
        if gpu.capabilities().timestamps { "the device's" } else { "the host's: it has no timestamps" };
    eprintln!("{gpu:?}, gemm/{}, checked: {}; clock: {clock}", gpu.gemm_variant(), gpu.checked());
    gpu
}

/// Nanoseconds.
pub struct DeviceTime;

impl DeviceTime {
    /// Of so many runs of a pass, for `iter_custom`.
    // Each bench compiles this module for itself and uses a part of it.
    #[allow(dead_code)]
    pub fn of_pass(gpu: &Gpu, pass: &Pass, runs: u64) -> Result<f64, BenchError> {
        ns_of_runs(gpu, pass, runs)
    }
}

impl Measurement for DeviceTime {
    type Intermediate = Instant;
    type Value = f64;

    // Host time: for what is no recorded pass.
    fn start(&self) -> Instant {
        Instant::now()
    }

    fn end(&self, start: Instant) -> f64 {
        start.elapsed().as_nanos() as f64
    }

    fn add(&self, a: &f64, b: &f64) -> f64 {
        a + b
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Nanoseconds
    }
}

struct Nanoseconds;

fn scale(values: &mut [f64], factor: f64) {
    for value in values {
        *value *= factor;
    }
}

impl ValueFormatter for Nanoseconds {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (factor, unit) = match typical {
            t if t < 1e3 => (1.0, "ns"),
            t if t < 1e6 => (1e-3, "µs"),
            t if t < 1e9 => (1e-6, "ms"),
            _ => (1e-9, "s"),
        };
        scale(values, factor);
        unit
    }

    /// An element is a floating-point operation.
    fn scale_throughputs(&self, _: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let (count, unit) = match *throughput {
            Throughput::Elements(operations) => (operations, "GFLOP/s"),
            Throughput::Bytes(bytes) | Throughput::BytesDecimal(bytes) => (bytes, "GB/s"),
            Throughput::Bits(bits) => (bits / 8, "GB/s"),
        };
        for value in values {
            *value = count as f64 / *value;
        }
        unit
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}
