//! What the tests of every family of kernels need: one checked device, random data, one measure of error.

// Each test binary compiles this module for itself and uses a part of it.
#![allow(dead_code)]

use retrograd_gpu::ops::GemmVariant;
use retrograd_gpu::{Gpu, GpuOptions, Pass, Recorder, Tensor};
use std::sync::OnceLock;

/// Half an ulp at 1: the largest relative error of one rounding to f32.
pub const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// The default adapter with the driver's checks on, opened once: pipelines are compiled once.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| open(GpuOptions::default()))
}

/// A checked device with other options.
pub fn open(options: GpuOptions) -> Gpu {
    Gpu::open(&GpuOptions { checked: true, ..options }).expect("an adapter opens")
}

/// A checked device that computes products by `variant`; `None` where the adapter cannot.
pub fn with_variant(variant: GemmVariant) -> Option<&'static Gpu> {
    static GPUS: [OnceLock<Gpu>; GemmVariant::ALL.len()] =
        [const { OnceLock::new() }; GemmVariant::ALL.len()];
    let gpu = GPUS[variant as usize]
        .get_or_init(|| open(GpuOptions { gemm: Some(variant), ..GpuOptions::default() }));
    if variant == GemmVariant::Subgroup && gpu.capabilities().subgroup.is_none() {
        eprintln!("skipped: {gpu:?} has no fixed subgroup size ({:?})", gpu.adapter().subgroup_sizes);
        return None;
    }
    Some(gpu)
}

/// Records with `record`, runs once, waits.
pub fn run(gpu: &Gpu, record: impl FnOnce(&mut Recorder)) {
    let pass = pass(gpu, record);
    gpu.run(&pass).expect("the pass runs");
    gpu.wait().expect("the pass ends");
}

/// Records with `record`.
pub fn pass(gpu: &Gpu, record: impl FnOnce(&mut Recorder)) -> Pass {
    let mut recorder = Recorder::new(gpu);
    record(&mut recorder);
    recorder.finish().expect("the pass is built")
}

/// A small generator (SplitMix64): the same numbers on every machine.
pub struct Random(u64);

impl Random {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [−1, 1).
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `count` values uniform in [−1, 1).
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// The same, on the device too.
    pub fn tensor<const N: usize>(&mut self, gpu: &Gpu, dims: [usize; N]) -> (Vec<f32>, Tensor) {
        let values = self.values(dims.iter().product());
        let tensor = gpu.upload(dims, &values).expect("an upload");
        (values, tensor)
    }
}

/// f32 → f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Largest magnitude.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// max|found − wanted|; infinite when something is NaN or missing.
pub fn deviation(found: &[f32], wanted: &[f64]) -> f64 {
    if found.len() != wanted.len() {
        return f64::INFINITY;
    }
    found.iter().zip(wanted).fold(0.0, |m, (f, w)| {
        let d = (f64::from(*f) - w).abs();
        if d.is_nan() { f64::INFINITY } else { m.max(d) }
    })
}

/// Asserts max|Δ| ≤ `bound` · `scale`, where the largest wanted value may be small by accident.
#[track_caller]
pub fn assert_close_at(what: &str, found: &[f32], wanted: &[f64], bound: f64, scale: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}: number of elements");
    let error = deviation(found, wanted);
    if error > bound * scale {
        let worst = (0..found.len())
            .max_by(|&a, &b| {
                let d = |i: usize| (f64::from(found[i]) - wanted[i]).abs();
                d(a).total_cmp(&d(b))
            })
            .unwrap_or(0);
        panic!(
            "{what}: error {:.2e} of {scale:.3e} exceeds {bound:.2e}; worst at {worst}: {} for {}",
            error / scale,
            found[worst],
            wanted[worst]
        );
    }
    if std::env::var_os("RETROGRAD_SHOW_ERRORS").is_some() {
        eprintln!("{what}: {:.2e} of {bound:.2e}", error / scale.max(f64::MIN_POSITIVE));
    }
}
