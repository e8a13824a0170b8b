//! Which adapter is used, why, and what it can do.

use crate::GpuError;
use std::collections::BTreeMap;
use std::fmt;

/// How a device is chosen and opened.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Part of the wanted adapter's name, case-insensitive. Default: the fastest kind there is
    /// (discrete, integrated, virtual, then software).
    pub adapter: Option<String>,
    /// Backend: `vulkan`, `metal`, `dx12` or `gl`. Default: the variable `WGPU_BACKEND`, else all.
    pub backend: Option<String>,
    /// Opens the device with the WebGPU default limits and no optional feature, as a browser would.
    pub webgpu_defaults: bool,
    /// Compiles kernels with bounds and loop checks. The sizes of every operand are checked before
    /// a dispatch either way; tests and verification switch this on as a second line.
    pub checked: bool,
    /// Invocations that share a row in row-wise kernels, a power of two up to 64, instead of the adapter's best: with 64 they
    /// run on a software adapter as on a GPU.
    pub row_lanes: Option<u32>,
    /// Forces one GEMM variant instead of the adapter's best.
    pub gemm: Option<crate::ops::GemmVariant>,
    /// Forces one tile of the workgroup GEMM variant for every product, whatever its extents.
    pub workgroup_tile: Option<crate::ops::WorkgroupTile>,
    /// GEMM variants that were found best by measuring, by adapter as its `Display` words it. That of the
    /// chosen adapter is used where `gemm` forces none and the adapter can run it.
    pub tuned: BTreeMap<String, crate::ops::GemmVariant>,
    /// Refuses to hold more than this many bytes on the device. Default: what the adapter can
    /// hold, where that is known.
    pub memory_limit: Option<u64>,
}

/// An adapter as its driver describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct AdapterDescription {
    /// Device name.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `gl`.
    pub backend: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software (CPU)` or `other`.
    pub kind: &'static str,
    /// Driver name.
    pub driver: String,
    /// Driver version, as it words it.
    pub driver_info: String,
    /// Smallest and largest subgroup the adapter uses; 0 where unknown.
    pub subgroup_sizes: (u32, u32),
    /// Largest storage binding in bytes.
    pub max_storage_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Whether kernels can be timed on the device.
    pub timestamps: bool,
}

impl AdapterDescription {
    fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let limits = adapter.limits();
        AdapterDescription {
            name: info.name,
            backend: info.backend.to_string(),
            kind: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete GPU",
                wgpu::DeviceType::IntegratedGpu => "integrated GPU",
                wgpu::DeviceType::VirtualGpu => "virtual GPU",
                wgpu::DeviceType::Cpu => "software (CPU)",
                wgpu::DeviceType::Other => "other",
            },
            driver: info.driver,
            driver_info: info.driver_info,
            subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
            max_storage_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            timestamps: adapter.features().contains(wgpu::Features::TIMESTAMP_QUERY),
        }
    }

    /// Whether it computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.kind == "software (CPU)"
    }
}

impl fmt::Display for AdapterDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {}; {} {}]", self.name, self.backend, self.kind, self.driver, self.driver_info)
    }
}

/// What was found and which was chosen.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Backends that were asked, in words.
    pub tried: String,
    /// Every adapter found, best first.
    pub found: Vec<AdapterDescription>,
    /// Index into `found`.
    pub chosen: usize,
}

/// Every adapter of every backend, best first, without opening any.
pub fn enumerate_adapters() -> Vec<AdapterDescription> {
    let (_, adapters) = list(wgpu::Backends::all());
    adapters.iter().map(AdapterDescription::of).collect()
}

pub(crate) fn choose(
    options: &GpuOptions,
) -> Result<(wgpu::Instance, wgpu::Adapter, AdapterReport), GpuError> {
    let named = match &options.backend {
        Some(name) => Some(name.clone()),
        None => std::env::var("WGPU_BACKEND").ok().filter(|name| !name.is_empty()),
    };
    let rounds: Vec<wgpu::Backends> = match &named {
        Some(name) => {
            let backends = wgpu::Backends::from_comma_list(name);
            if backends.is_empty() {
                return Err(GpuError::UnknownBackend { wanted: name.clone() });
            }
            vec![backends]
        }
        // GL is asked only when nothing better answers: loading it costs a cold start 50 ms and more.
        None => vec![wgpu::Backends::PRIMARY, wgpu::Backends::GL],
    };
    let mut tried = wgpu::Backends::empty();
    for backends in rounds {
        tried |= backends;
        let (instance, adapters) = list(backends);
        if adapters.is_empty() {
            continue;
        }
        let found: Vec<_> = adapters.iter().map(AdapterDescription::of).collect();
        let chosen = match &options.adapter {
            None => 0,
            Some(wanted) => found
                .iter()
                .position(|a| a.name.to_lowercase().contains(&wanted.to_lowercase()))
                .ok_or_else(|| GpuError::UnknownAdapter {
                    wanted: wanted.clone(),
                    found: found.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ")
                        + ", reference",
                })?,
        };
        let report = AdapterReport { tried: backend_names(tried), found, chosen };
        let adapter = adapters.into_iter().nth(chosen);
        let adapter = adapter.ok_or_else(|| GpuError::NoAdapter { tried: backend_names(tried) })?;
        return Ok((instance, adapter, report));
    }
    Err(GpuError::NoAdapter { tried: backend_names(tried) })
}

fn list(backends: wgpu::Backends) -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    // Validation layers are for wgpu's own development; our checks are in `Recorder` and the ops.
    descriptor.flags = wgpu::InstanceFlags::empty().with_env();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = pollster::block_on(instance.enumerate_adapters(backends));
    adapters.sort_by_key(|adapter| {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        // The same device through GL is slower and more limited than through its own interface.
        (kind, info.backend == wgpu::Backend::Gl)
    });
    (instance, adapters)
}

fn backend_names(backends: wgpu::Backends) -> String {
    let names = [
        (wgpu::Backends::VULKAN, "vulkan"),
        (wgpu::Backends::METAL, "metal"),
        (wgpu::Backends::DX12, "dx12"),
        (wgpu::Backends::GL, "gl"),
    ];
    names
        .iter()
        .filter(|(bit, _)| backends.contains(*bit))
        .map(|(_, name)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}
