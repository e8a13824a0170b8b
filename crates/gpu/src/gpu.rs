//! An open device, and the memory on it.

use crate::GpuError;
use crate::adapter::{self, AdapterDescription, AdapterReport, GpuOptions};
use crate::arena::{Arena, ArenaStats};
use crate::failure::Failures;
use crate::fault::Fault;
use crate::image::{Extents, ImageLayout, Texture};
use crate::ops::{GemmVariant, WorkgroupTile};
use crate::pipeline::Compiled;
use crate::plan::Plan;
use crate::recorder::SumOrder;
use crate::tensor::{Dtype, Shape, Tensor, byte_len};
use crate::upload::UPLOAD_PIECE;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// What kernels may count on.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Subgroup size, where it is the same for every kernel and a power of two from 4 to 32;
    /// `None` where it varies or subgroup operations are not offered.
    pub subgroup: Option<u32>,
    /// Whether the subgroup GEMM loads two floats as one 64-bit integer: on software adapters,
    /// which load component by component, where they have such integers.
    pub wide_loads: bool,
    /// Whether kernels can be timed on the device.
    pub timestamps: bool,
    /// Invocations that share a row in row-wise kernels (layer norm, softmax, …). On a software
    /// adapter one subgroup's worth, which needs no barriers; on a GPU 64.
    pub row_lanes: u32,
    /// Largest number of bytes one binding may see.
    pub max_binding: u64,
    /// Largest number of bytes one buffer may hold.
    pub max_buffer: u64,
}

impl Capabilities {
    /// Whether a GEMM variant can run.
    pub fn runs(&self, variant: GemmVariant) -> bool {
        variant != GemmVariant::Subgroup || self.subgroup.is_some()
    }

    /// Whether kernels that reduce run as on a GPU: many invocations to a result, and barriers.
    pub(crate) fn reduces_as_on_a_gpu(&self) -> bool {
        self.row_lanes >= GPU_ROW_LANES
    }
}

/// An open device. Clones share it; it may be used from several threads.
#[derive(Clone)]
pub struct Gpu(pub(crate) Arc<Inner>, pub(crate) Option<Plan>);

pub(crate) struct Inner {
    // Held so that the adapter outlives the device on drivers that need it.
    _instance: wgpu::Instance,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    report: AdapterReport,
    capabilities: Capabilities,
    gemm: GemmVariant,
    memory_limit: Option<u64>,
    /// As given to [`Gpu::open`].
    pub(crate) options: GpuOptions,
    pub(crate) pipelines: Mutex<HashMap<String, Compiled>>,
    /// Mistakes planted by a test; none otherwise.
    pub(crate) faults: Vec<Fault>,
    pub(crate) arena: Arc<Arena>,
    pub(crate) staging: Mutex<Option<wgpu::Buffer>>,
    pub(crate) failures: Arc<Failures>,
}

/// Invocations that share a row on a GPU: a workgroup of the usual size of a wave, or two of them.
const GPU_ROW_LANES: u32 = 64;

impl Gpu {
    /// Chooses an adapter and opens it. Blocks.
    pub fn open(options: &GpuOptions) -> Result<Gpu, GpuError> {
        Gpu::open_with_faults(options, Vec::new())
    }

    /// Opens a device that computes wrongly: for tests of what is to find that out.
    #[doc(hidden)]
    pub fn open_with_faults(options: &GpuOptions, faults: Vec<Fault>) -> Result<Gpu, GpuError> {
        let (instance, adapter, report) = adapter::choose(options)?;
        let description = &report.found[report.chosen];
        let (features, limits) = if options.webgpu_defaults {
            (wgpu::Features::empty(), wgpu::Limits::default())
        } else {
            let wanted =
                wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::SHADER_INT64;
            (adapter.features() & wanted, adapter.limits())
        };
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("retrograd"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        });
        let (device, queue) = pollster::block_on(request).map_err(|error| GpuError::DeviceRefused {
            adapter: description.name.clone(),
            reason: error.to_string(),
        })?;

        let failures = Failures::listen(&device);
        let (smallest, largest) = description.subgroup_sizes;
        let fixed = smallest == largest && smallest.is_power_of_two() && (4..=32).contains(&smallest);
        let subgroup = (features.contains(wgpu::Features::SUBGROUP) && fixed).then_some(smallest);
        let capabilities = Capabilities {
            subgroup,
            wide_loads: features.contains(wgpu::Features::SHADER_INT64) && description.is_software(),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            row_lanes: match options.row_lanes {
                Some(lanes) => lanes.clamp(1, GPU_ROW_LANES).next_power_of_two(),
                None if description.is_software() => subgroup.unwrap_or(8),
                None => GPU_ROW_LANES,
            },
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
        };
        let memory_limit = options.memory_limit.or_else(|| available_memory(description));
        let tuned = options.tuned.get(&description.to_string()).copied();
        let gemm = options
            .gemm
            .or(tuned.filter(|variant| capabilities.runs(*variant)))
            .unwrap_or_else(|| GemmVariant::best_for(description, &capabilities));
        let inner = Inner {
            _instance: instance,
            device,
            queue,
            report,
            capabilities,
            gemm,
            memory_limit,
            options: options.clone(),
            pipelines: Mutex::default(),
            faults,
            arena: Arc::default(),
            staging: Mutex::default(),
            failures,
        };
        Ok(Gpu(Arc::new(inner), None))
    }

    /// The adapter in use.
    pub fn adapter(&self) -> &AdapterDescription {
        &self.0.report.found[self.0.report.chosen]
    }

    /// What was found when the adapter was chosen.
    pub fn report(&self) -> &AdapterReport {
        &self.0.report
    }

    /// What kernels may count on.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// The GEMM variant in use.
    pub fn gemm_variant(&self) -> GemmVariant {
        self.0.gemm
    }

    /// The tile that every product of the workgroup variant has, where one was forced.
    pub fn workgroup_tile(&self) -> Option<WorkgroupTile> {
        self.0.options.workgroup_tile
    }

    /// Whether this device has workgroups large enough for a tile.
    pub fn has_tile(&self, tile: WorkgroupTile) -> bool {
        tile.fits(&self.0.device.limits())
    }

    /// The tile for a product of M × N × K, so many times.
    pub(crate) fn tile_for(
        &self,
        extents: (usize, usize, usize),
        maps: usize,
        order: SumOrder,
    ) -> Result<WorkgroupTile, GpuError> {
        match self.workgroup_tile() {
            Some(tile) if self.has_tile(tile) => Ok(tile),
            Some(tile) => Err(GpuError::Unsupported {
                op: "gemm",
                reason: format!("the tile {tile} takes larger workgroups than {} has", self.adapter().name),
            }),
            None => Ok(WorkgroupTile::choose(extents, maps, order, |tile| self.has_tile(tile))),
        }
    }

    /// Whether kernels are compiled with the driver-side checks.
    pub fn checked(&self) -> bool {
        self.0.options.checked
    }

    /// Bytes the device can hold, where that is known or was limited.
    pub fn memory_limit(&self) -> Option<u64> {
        self.0.memory_limit
    }

    /// Buffers and bytes allocated so far.
    pub fn arena_stats(&self) -> ArenaStats {
        self.0.arena.stats()
    }

    /// Gives the memory of tensors no longer in use back to the driver.
    pub fn trim(&self) {
        self.0.arena.trim();
        self.0.staging.lock().unwrap_or_else(|e| e.into_inner()).take();
    }

    /// Bytes that can still be allocated, where it is known what the device can hold: that, less what tensors in use
    /// take.
    pub fn available_memory(&self) -> Option<u64> {
        let stats = self.arena_stats();
        Some(self.0.memory_limit?.saturating_sub(stats.bytes_held - stats.bytes_free))
    }

    /// Refuses `bytes` when the device cannot hold them: asked before a model is loaded.
    pub fn check_memory(&self, what: &str, bytes: u64) -> Result<(), GpuError> {
        let Some(available) = self.available_memory() else { return Ok(()) };
        if bytes > available {
            return Err(GpuError::OutOfMemory {
                what: what.to_owned(),
                needed_mib: bytes.div_ceil(1 << 20),
                available_mib: available >> 20,
                adapter: self.adapter().name.clone(),
            });
        }
        Ok(())
    }

    /// As [`check_memory`](Gpu::check_memory), and gives up what lies free in the arena where there would be too much.
    fn make_room(&self, what: &str, bytes: u64) -> Result<(), GpuError> {
        self.check_memory(what, bytes)?;
        if self.0.memory_limit.is_some_and(|limit| limit - self.arena_stats().bytes_held.min(limit) < bytes) {
            self.0.arena.trim();
        }
        Ok(())
    }

    /// An f32 tensor whose elements are unspecified until they are written.
    pub fn tensor(&self, shape: impl Into<Shape>) -> Result<Tensor, GpuError> {
        self.allocate(shape.into(), Dtype::F32)
    }

    /// A tensor of any element type, elements unspecified.
    pub fn allocate(&self, shape: Shape, dtype: Dtype) -> Result<Tensor, GpuError> {
        let bytes = byte_len(shape, dtype);
        let rounded = Arena::rounded(bytes);
        let bounds = [
            (self.0.capabilities.max_binding, "max_storage_buffer_binding_size"),
            (self.0.capabilities.max_buffer, "max_buffer_size"),
        ];
        for (limit, limit_name) in bounds {
            if rounded > limit {
                return Err(GpuError::TooLarge {
                    what: format!("a tensor of shape {shape}"),
                    needed: rounded,
                    limit,
                    limit_name,
                    adapter: self.adapter().name.clone(),
                });
            }
        }
        if let Some(plan) = &self.1 {
            return Ok(plan.tensor(rounded, None, shape, dtype));
        }
        if let Some(allocation) = self.0.arena.reuse(bytes) {
            return Ok(Tensor::new(allocation, shape, dtype));
        }
        self.make_room(&format!("a tensor of shape {shape}"), rounded)?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        let buffer = self.create(format!("a tensor of shape {shape}"), rounded, |device| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: rounded,
                usage,
                mapped_at_creation: false,
            })
        })?;
        Ok(Tensor::new(self.0.arena.adopt(buffer), shape, dtype))
    }

    /// A matrix that is read by products (a weight): in an image where this device's GEMM reads those faster and has
    /// one that large, else in a buffer. Elements are unspecified until they are written.
    pub fn allocate_operand(&self, shape: impl Into<Shape>, dtype: Dtype) -> Result<Tensor, GpuError> {
        let shape = shape.into();
        let image = match self.0.gemm {
            GemmVariant::Image => self.allocate_image(ImageLayout::Strips, shape, dtype)?,
            _ => None,
        };
        if let (Some(plan), Some(_)) = (&self.1, &image) {
            // It will be written through a buffer: see `write_image`.
            plan.piece(Arena::rounded(byte_len(shape, dtype)).min(UPLOAD_PIECE as u64));
        }
        image.map_or_else(|| self.allocate(shape, dtype), Ok)
    }

    /// Rows that [`allocate_operand`](Gpu::allocate_operand) can place in one image; `None` where it makes buffers.
    pub fn max_operand_rows(&self) -> Option<usize> {
        let rows = self.0.device.limits().max_texture_dimension_2d as usize;
        (self.0.gemm == GemmVariant::Image).then_some(rows)
    }

    /// A matrix in an image; `None` where the device has no texture that large.
    pub(crate) fn allocate_image(
        &self,
        layout: ImageLayout,
        shape: Shape,
        dtype: Dtype,
    ) -> Result<Option<Tensor>, GpuError> {
        if dtype == Dtype::U32 {
            return Ok(None);
        }
        let Some(extents) = Extents::of(layout, shape, &self.0.device.limits()) else { return Ok(None) };
        if let Some(plan) = &self.1 {
            return Ok(Some(plan.tensor(extents.bytes(dtype), Some(layout), shape, dtype)));
        }
        if let Some(image) = self.0.arena.reuse_image(extents, dtype) {
            return Ok(Some(Tensor::in_image(image, shape, dtype)));
        }
        let what = format!("a matrix of shape {shape}");
        let bytes = extents.bytes(dtype);
        self.make_room(&what, bytes)?;
        let texture = self.create(what, bytes, |device| Texture::new(device, extents, dtype))?;
        Ok(Some(Tensor::in_image(self.0.arena.adopt_image(texture), shape, dtype)))
    }

    /// Waits until everything submitted is done; reports what the device complained of, if it did.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.poll("waiting for it")
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.adapter())
    }
}

/// A software adapter's memory is the machine's: what Linux reports as available.
fn available_memory(adapter: &AdapterDescription) -> Option<u64> {
    if !adapter.is_software() {
        return None;
    }
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
