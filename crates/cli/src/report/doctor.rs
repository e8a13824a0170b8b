//! What `retrograd doctor` found.

use super::number::bytes;
use super::page::{Page, paint};
use super::style::{BOLD, DIM, GOOD, WRONG};
use crate::args::DeviceArgs;
use retrograd::Gpu;
use retrograd::gpu::AdapterDescription;
use retrograd::lens::Deviation;
use retrograd::self_test::{SelfTest, TOLERANCE};
use serde::Serialize;
use std::time::Duration;

/// The document of `retrograd doctor --json`.
#[derive(Serialize)]
pub(crate) struct Diagnosis {
    schema: &'static str,
    version: &'static str,
    adapters: Vec<Adapter>,
    chosen: Adapter,
    reason: String,
    limits: &'static str,
    max_binding_bytes: u64,
    max_buffer_bytes: u64,
    subgroup: Option<u32>,
    timestamps: bool,
    gemm: String,
    memory_bytes: Option<u64>,
    self_test: Verdict,
}

#[derive(Clone, PartialEq, Serialize)]
struct Adapter {
    name: String,
    backend: String,
    kind: &'static str,
    driver: String,
    driver_info: String,
    subgroup_sizes: (u32, u32),
    max_storage_binding_bytes: u64,
    max_buffer_bytes: u64,
    timestamps: bool,
}

#[derive(Serialize)]
struct Verdict {
    passed: bool,
    tolerance: f64,
    tensors: usize,
    worst: Option<Deviation>,
    loss: f32,
    reference_loss: f32,
    seconds: f64,
}

impl Adapter {
    fn of(adapter: &AdapterDescription) -> Self {
        Adapter {
            name: adapter.name.clone(),
            backend: adapter.backend.clone(),
            kind: adapter.kind,
            driver: adapter.driver.clone(),
            driver_info: adapter.driver_info.clone(),
            subgroup_sizes: adapter.subgroup_sizes,
            max_storage_binding_bytes: adapter.max_storage_binding,
            max_buffer_bytes: adapter.max_buffer,
            timestamps: adapter.timestamps,
        }
    }
}

impl Diagnosis {
    pub(crate) fn new(
        args: &DeviceArgs,
        found: Vec<AdapterDescription>,
        gpu: &Gpu,
        test: &SelfTest,
        time: Duration,
    ) -> Self {
        let chosen = gpu.adapter();
        let capabilities = gpu.capabilities();
        let others = gpu.report().found.len() - 1;
        let backend = std::env::var("WGPU_BACKEND").ok().filter(|name| !name.is_empty());
        let reason = match (&args.adapter, backend) {
            (Some(name), _) => format!("its name contains '{name}' (--adapter)"),
            (None, Some(backend)) => format!("the best that WGPU_BACKEND={backend} offers"),
            (None, None) if others == 0 => format!("the only one that {} offer", gpu.report().tried),
            (None, None) => format!("a {}, the best kind of {} there are", chosen.kind, others + 1),
        };
        Diagnosis {
            schema: "retrograd-doctor/1",
            version: env!("CARGO_PKG_VERSION"),
            adapters: found.iter().map(Adapter::of).collect(),
            chosen: Adapter::of(chosen),
            reason,
            limits: if args.default_limits { "WebGPU defaults" } else { "the adapter's" },
            max_binding_bytes: capabilities.max_binding,
            max_buffer_bytes: capabilities.max_buffer,
            subgroup: capabilities.subgroup,
            timestamps: capabilities.timestamps,
            gemm: format!("{:?}", gpu.gemm_variant()),
            memory_bytes: gpu.memory_limit(),
            self_test: Verdict {
                passed: test.passed(),
                tolerance: TOLERANCE,
                tensors: test.deviations.len(),
                worst: test.worst().cloned(),
                loss: test.losses.0,
                reference_loss: test.losses.1,
                seconds: time.as_secs_f64(),
            },
        }
    }
}

/// The page.
pub(crate) fn doctor(page: &mut Page, diagnosis: &Diagnosis) {
    page.heading("Adapters", &format!("{} found; → is used", diagnosis.adapters.len()));
    for adapter in &diagnosis.adapters {
        let mark = if *adapter == diagnosis.chosen { "→" } else { " " };
        page.line(format_args!(
            "{mark} {}  {}, {}",
            paint(BOLD, &adapter.name),
            adapter.backend,
            adapter.kind
        ));
        let (least, most) = adapter.subgroup_sizes;
        let subgroups = match (least, most) {
            (0, 0) => "subgroups of unknown size".to_owned(),
            (least, most) if least == most => format!("subgroups of {least}"),
            (least, most) => format!("subgroups of {least} to {most}"),
        };
        let driver = format!("{} {}", adapter.driver, adapter.driver_info);
        page.line(paint(DIM, format_args!("  driver {}", driver.trim())));
        page.line(paint(
            DIM,
            format_args!(
                "  binds up to {}, buffers up to {}, {subgroups}, {}",
                bytes(adapter.max_storage_binding_bytes),
                bytes(adapter.max_buffer_bytes),
                if adapter.timestamps { "times kernels" } else { "no kernel times" },
            ),
        ));
    }

    page.heading("In use", &diagnosis.chosen.name);
    let subgroups = match diagnosis.subgroup {
        Some(size) => format!("of {size}, in use"),
        None => "not used: their size varies, or the device has none".to_owned(),
    };
    let memory = match diagnosis.memory_bytes {
        Some(memory) => format!("{} for models and traces", bytes(memory)),
        None => "not told by the driver".to_owned(),
    };
    let rows = [
        ("why", diagnosis.reason.clone()),
        (
            "limits",
            format!(
                "{}: binds up to {}, buffers up to {}",
                diagnosis.limits,
                bytes(diagnosis.max_binding_bytes),
                bytes(diagnosis.max_buffer_bytes)
            ),
        ),
        ("subgroups", subgroups),
        ("timing", if diagnosis.timestamps { "timestamps on the device" } else { "none" }.to_owned()),
        ("GEMM", diagnosis.gemm.clone()),
        ("memory", memory),
    ];
    for (name, value) in rows {
        page.line(format_args!("  {} {value}", paint(DIM, format_args!("{name:<10}"))));
    }

    let test = &diagnosis.self_test;
    page.heading("Self-test", "one trace of a small random model against the same in f64");
    let verdict = if test.passed { paint(GOOD, "passed") } else { paint(WRONG, "failed") };
    page.line(format_args!("  {verdict} in {:.2} s: {} tensors", test.seconds, test.tensors));
    if let Some(worst) = &test.worst {
        page.line(paint(
            DIM,
            format_args!(
                "  furthest off: {} by {:.1e} of its largest value (allowed {:.0e})",
                worst.site, worst.relative, test.tolerance
            ),
        ));
    }
}
