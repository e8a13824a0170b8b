//! Every case of every kernel, with the driver's checks on: what `retrograd verify --full` runs.

use retrograd_gpu::GpuOptions;
use retrograd_verify::{Devices, Options, Products, Report, Scope, kernels, run};
use std::path::Path;

/// Runs the kernels that match.
fn verify(device: GpuOptions, pattern: &str, products: Products, scope: Scope) -> Report {
    let options = Options {
        devices: Devices::new(device),
        kernels: Some(pattern.to_owned()),
        products,
        scope,
        ..Options::default()
    };
    run(&options, &mut |_| ()).unwrap()
}

/// The same, in full on the default device; all must pass.
fn kernels(pattern: &str, products: Products) -> Report {
    let report = verify(GpuOptions::default(), pattern, products, Scope::Full);
    assert!(report.passed(), "{:#?}", report.at_fault());
    report
}

/// Those that multiply matrices have tests of their own, by every variant.
const PRODUCTS: [&str; 6] = ["attention", "gemm", "gemm_epilogue", "gemm_heads", "gemm_tile", "pack"];

/// All others, whatever they are called.
fn others() -> Vec<&'static str> {
    kernels::kernel_names().into_iter().filter(|name| !PRODUCTS.contains(name)).collect()
}

/// Every second of them, from the first or from the second on: two tests run beside each other.
fn half(first: usize) -> String {
    others().into_iter().skip(first).step_by(2).collect::<Vec<_>>().join(",")
}

#[test]
fn kernels_one_half() {
    kernels(&half(0), Products::Chosen);
}

#[test]
fn kernels_the_other_half() {
    kernels(&half(1), Products::Chosen);
}

/// With the WebGPU defaults, which is how a GPU's rows are reduced: 64 invocations and barriers, no subgroups.
#[test]
fn rows_reduced_as_on_a_gpu() {
    let device = GpuOptions { webgpu_defaults: true, row_lanes: Some(64), ..GpuOptions::default() };
    let report = verify(device, &others().join(","), Products::default(), Scope::default());
    assert!(report.passed(), "{:#?}", report.at_fault());
}

/// Forms, views, epilogues and long sums, off every tile, in both precisions.
#[test]
fn products_by_every_variant() {
    let report = verify(GpuOptions::default(), "gemm*", Products::All, Scope::default());
    assert!(report.passed(), "{:#?}", report.at_fault());
}

#[test]
fn whole_attention_layers_by_every_product() {
    let report = kernels("attention", Products::All);
    assert!(report.checks.len() + report.skipped.len() >= 3, "{report:?}");
}

#[test]
fn packed_matrices() {
    let report = verify(GpuOptions::default(), "pack", Products::All, Scope::default());
    // Only devices whose products read images have any.
    assert!(report.at_fault().is_empty(), "{:#?}", report.at_fault());
}

/// An operation that nobody verifies is found here.
#[test]
fn every_operation_has_its_cases() {
    let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/src/ops");
    // Not operations: what they share, and the way for a caller's own.
    let others = ["mod", "expect", "row_layout", "matrix", "custom"];
    for entry in std::fs::read_dir(ops).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let verified = others.contains(&name.as_str()) || kernels::kernel_names().contains(&name.as_str());
        assert!(verified, "crates/gpu/src/ops/{name}.rs has no cases in crates/verify/src/kernels");
    }
}

#[test]
fn a_name_that_no_kernel_has() {
    let options = Options { kernels: Some("gemm,soft max".to_owned()), ..Options::default() };
    let error = run(&options, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("'soft max'") && error.contains("causal_softmax"), "{error}");
}
