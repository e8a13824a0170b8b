//! Traces of models of awkward shapes, by every way to compute products.

use retrograd_gpu::GpuOptions;
use retrograd_gpu::ops::GemmVariant;
use retrograd_model::Precision;
use retrograd_verify::{Devices, Options, Products, Scope, Section, run};
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn options(model: &str) -> Options {
    Options {
        devices: Devices::new(GpuOptions::default()),
        model: Some(fixture(model)),
        // The kernels have tests of their own.
        kernels: Some("replace_heads".to_owned()),
        scope: Scope::Brief,
        ..Options::default()
    }
}

#[test]
fn models_of_every_kind() {
    // One token; one head of an odd width; shards in f16; channels a thousand times the others; a head of its own.
    for model in ["one_token", "one_head", "f16_shards", "massive", "untied"] {
        let report = run(&options(model), &mut |_| ()).unwrap();
        assert!(report.passed(), "{model}: {:#?}", report.at_fault());
    }
}

/// Every variant forced on in turn: the products themselves, and traces through them.
#[test]
fn every_variant_in_turn() {
    for precision in [Precision::F32, Precision::F16] {
        let options = Options {
            // Without gemm_tile, which is once for all variants: see kernels.rs.
            kernels: Some("gemm,gemm_epilogue,gemm_heads".to_owned()),
            products: Products::All,
            precisions: vec![precision],
            ..options("three_layers")
        };
        let report = run(&options, &mut |_| ()).unwrap();
        assert!(report.passed(), "{:#?}", report.at_fault());
        for variant in GemmVariant::ALL {
            let skipped = report.skipped.iter().any(|line| line.contains(&format!("the variant {variant}")));
            let kernels = report.section(Section::Kernels).any(|c| c.name.ends_with(&format!(" {variant}")));
            assert!(skipped != kernels, "{variant}: {:?}", report.skipped);
        }
    }
}
