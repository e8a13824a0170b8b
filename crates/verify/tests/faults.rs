//! Mistakes planted in kernels: each must be found, and named for what it is.

use retrograd_gpu::ops::GemmVariant;
use retrograd_gpu::{Fault, GpuOptions};
use retrograd_verify::{Devices, Options, Products, Report, Section, run};
use std::path::Path;

/// Verifies a device with this mistake, on a small model; only kernels that match `kernels`, for their time.
fn verify(fault: Option<Fault>, kernels: &str) -> Report {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/three_layers");
    let options = Options {
        devices: Devices::new(GpuOptions::default()).with_faults(fault.into_iter().collect()),
        model: Some(model),
        kernels: Some(kernels.to_owned()),
        // The one that runs everywhere.
        products: Products::One(GemmVariant::Portable),
        ..Options::default()
    };
    run(&options, &mut |_| ()).unwrap()
}

/// The rows of a section that are outside.
fn outside(report: &Report, section: Section) -> Vec<&str> {
    let failed = report.section(section).filter(|check| !check.passed);
    failed.map(|check| check.name.as_str()).filter(|name| !name.ends_with(" f16")).collect()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let report = verify(None, "reversed_attention,layer_norm_backward,gemm_heads");
    assert!(report.passed(), "{:?}", report.at_fault());
    assert!(report.at_fault().is_empty());
    for section in [Section::Kernels, Section::Equations, Section::Identities, Section::Trace] {
        assert!(report.section(section).count() > 0, "{section:?}");
    }
}

#[test]
fn a_dropped_root_of_d() {
    let fault = Fault::Text { kernel: "reversed_attention", only: None, from: " * params.scale", to: "" };
    let report = verify(Some(fault), "reversed_attention,layer_norm_backward");
    assert_eq!(outside(&report, Section::Kernels), ["reversed_attention"]);
    assert_eq!(outside(&report, Section::Equations), ["R = A ⊙ (E − rowsum(A ⊙ E))/√d"]);
    let faults = report.at_fault();
    assert!(faults[0].starts_with("kernel reversed_attention"), "{faults:?}");
    // The kernel's own check scales by 1/8; the model's heads have another width, and their own factor.
    assert!(faults[0].contains("8.0000 times what they should be"), "{faults:?}");
    assert!(faults[1].starts_with("equation R = "), "{faults:?}");
    assert!(
        faults[1].contains("transformer.h.2.attn.reversed"),
        "the first in the order of computation: {faults:?}"
    );
    // A row sum of 0 does not tell a scale, and the forward pass is right.
    assert!(!outside(&report, Section::Identities).contains(&"rows of R sum to 0"));
    let tensors = outside(&report, Section::Trace);
    assert!(tensors.contains(&"attn.reversed") && !tensors.contains(&"logits"), "{tensors:?}");
}

#[test]
fn a_missing_row_sum() {
    let fault = Fault::Text {
        kernel: "reversed_attention",
        only: None,
        from: "(e[start + j] - dot)",
        to: "(e[start + j] - 0.0 * dot)",
    };
    let report = verify(Some(fault), "reversed_attention,layer_norm_backward");
    assert_eq!(outside(&report, Section::Kernels), ["reversed_attention"]);
    assert_eq!(outside(&report, Section::Equations), ["R = A ⊙ (E − rowsum(A ⊙ E))/√d"]);
    assert_eq!(outside(&report, Section::Identities), ["rows of R sum to 0"]);
}

#[test]
fn a_transposed_factor() {
    // Aᵀ·B is computed as A·B: ∂k = R·q, ∂v = A·∂o.
    let fault = Fault::Option { kernel: "gemm", option: "form", from: 2, to: 0 };
    let report = verify(Some(fault), "gemm_heads,layer_norm_backward");
    assert_eq!(outside(&report, Section::Kernels), ["gemm of heads portable"]);
    let finding = report.section(Section::Kernels).find(|check| !check.passed).unwrap();
    assert!(
        finding.first_outside.as_ref().unwrap().case.starts_with("keys of"),
        "the TN product: {finding:?}"
    );
    assert_eq!(outside(&report, Section::Equations), ["∂k = Rᵀ·q", "∂v = Aᵀ·∂o"]);
}

#[test]
fn a_lost_upstream_gradient() {
    let fault = Fault::Text {
        kernel: "layer_norm_backward",
        only: Some(("upstream", 1)),
        from: "upstream[x_start + j] + ",
        to: "0.0 * upstream[x_start + j] + ",
    };
    let report = verify(Some(fault), "reversed_attention,layer_norm_backward");
    assert_eq!(outside(&report, Section::Kernels), ["layer_norm_backward"]);
    assert_eq!(
        outside(&report, Section::Equations),
        ["δ′ = δ + LN2ᵇ(∂f·W1ᵀ)", "δ_next = δ′ + LN1ᵇ([∂q ∂k ∂v]·Wqkvᵀ)"]
    );
    // Nothing of the closed form enters there.
    assert!(outside(&report, Section::Differences).contains(&"attn.c_attn.weight"));
}

#[test]
fn values_that_are_not_numbers() {
    let fault = Fault::Text {
        kernel: "reversed_attention",
        only: None,
        from: "reversed[start + j] = r;",
        to: "reversed[start + j] = bitcast<f32>(0x7fc00000u + params.first_row);",
    };
    let report = verify(Some(fault), "reversed_attention");
    assert!(!report.passed());
    let faults = report.at_fault();
    assert!(faults[0].contains("NaN or infinite"), "{faults:?}");
    let worst = &report.section(Section::Kernels).next().unwrap().worst;
    assert!(worst.relative.is_infinite() && !worst.passed());
    // NaN beside NaN is no agreement either.
    assert!(outside(&report, Section::Repetition).contains(&"a trace run again"));
}
