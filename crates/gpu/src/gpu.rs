//! An open device: memory, pipelines, submission.

use crate::adapter::{self, AdapterDescription, AdapterReport, GpuOptions};
use crate::arena::{Arena, ArenaStats};
use crate::failure::Failures;
use crate::fault::{self, Fault};
use crate::image::{Extents, ImageLayout, Texture};
use crate::kernel::Kernel;
use crate::ops::{self, GemmVariant, Matrix};
use crate::plan::Plan;
use crate::tensor::{Dtype, Shape, Tensor, byte_len};
use crate::{GpuError, Recorder};
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
    /// adapter one subgroup's worth, which needs no barriers; on a GPU, and with the WebGPU defaults, 64.
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
    pipelines: Mutex<HashMap<String, Compiled>>,
    /// Mistakes planted by a test; none otherwise.
    pub(crate) faults: Vec<Fault>,
    pub(crate) arena: Arc<Arena>,
    pub(crate) staging: Mutex<Option<wgpu::Buffer>>,
    pub(crate) failures: Arc<Failures>,
}

/// A kernel on the device.
#[derive(Clone)]
pub(crate) struct Compiled {
    kernel: Kernel,
    pub(crate) pipeline: wgpu::ComputePipeline,
    /// Bindings that it writes, by number.
    pub(crate) written: Vec<u32>,
    /// Bindings that are images, by number.
    pub(crate) images: Vec<u32>,
}

/// Largest single piece handed to the queue at once while uploading: bounds the staging memory
/// that wgpu holds until the next poll.
const UPLOAD_PIECE: usize = 32 << 20;
const UPLOADING: &str = "writing to it";

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
            row_lanes: match description.is_software() && !options.webgpu_defaults {
                true => subgroup.unwrap_or(8),
                false => 64,
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

    /// A new f32 tensor with these elements.
    pub fn upload(&self, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor, GpuError> {
        let tensor = self.tensor(shape)?;
        self.write(&tensor, values)?;
        Ok(tensor)
    }

    /// A new f16 tensor with these elements, given as bit patterns.
    pub fn upload_f16(&self, shape: impl Into<Shape>, bits: &[u16]) -> Result<Tensor, GpuError> {
        let tensor = self.allocate(shape.into(), Dtype::F16)?;
        self.write_f16(&tensor, bits)?;
        Ok(tensor)
    }

    /// A new u32 tensor with these elements.
    pub fn upload_u32(&self, shape: impl Into<Shape>, values: &[u32]) -> Result<Tensor, GpuError> {
        let tensor = self.allocate(shape.into(), Dtype::U32)?;
        self.write_u32(&tensor, values)?;
        Ok(tensor)
    }

    /// Replaces the elements of an f32 tensor.
    pub fn write(&self, tensor: &Tensor, values: &[f32]) -> Result<(), GpuError> {
        self.expect_elements(tensor, values.len(), Dtype::F32)?;
        self.write_bytes(tensor, bytemuck::cast_slice(values))
    }

    /// Replaces the elements of an f16 tensor, given as bit patterns.
    pub fn write_f16(&self, tensor: &Tensor, bits: &[u16]) -> Result<(), GpuError> {
        self.expect_elements(tensor, bits.len(), Dtype::F16)?;
        if bits.len().is_multiple_of(2) {
            self.write_bytes(tensor, bytemuck::cast_slice(bits))
        } else {
            // Whole words are written: an odd count gets a zero after its last element.
            let mut padded = bits.to_vec();
            padded.push(0);
            self.write_bytes(tensor, bytemuck::cast_slice(&padded))
        }
    }

    /// Replaces the elements of a u32 tensor.
    pub fn write_u32(&self, tensor: &Tensor, values: &[u32]) -> Result<(), GpuError> {
        self.expect_elements(tensor, values.len(), Dtype::U32)?;
        self.write_bytes(tensor, bytemuck::cast_slice(values))
    }

    fn expect_elements(&self, tensor: &Tensor, count: usize, dtype: Dtype) -> Result<(), GpuError> {
        if tensor.dtype() != dtype {
            return Err(GpuError::Dtype {
                op: "write",
                operand: "tensor",
                expected: "values and tensor must agree",
            });
        }
        if tensor.len() != count {
            return Err(GpuError::Shape {
                op: "write",
                operand: "tensor",
                found: tensor.shape(),
                expected: format!("as many elements as the {count} values"),
            });
        }
        Ok(())
    }

    fn write_bytes(&self, tensor: &Tensor, bytes: &[u8]) -> Result<(), GpuError> {
        if tensor.is_planned() {
            return Ok(());
        }
        let Some(buffer) = tensor.buffer() else { return self.write_image(tensor, bytes) };
        for (index, piece) in bytes.chunks(UPLOAD_PIECE).enumerate() {
            self.healthy(UPLOADING)?;
            self.0.queue.write_buffer(buffer, (index * UPLOAD_PIECE) as u64, piece);
            if bytes.len() > UPLOAD_PIECE {
                // Lets the driver free the staging copy of each piece.
                self.0.queue.submit([]);
                self.poll(UPLOADING)?;
            }
        }
        self.healthy(UPLOADING)
    }

    /// Through a buffer, some rows at a time.
    fn write_image(&self, image: &Tensor, bytes: &[u8]) -> Result<(), GpuError> {
        let (rows, columns) = (image.shape().rows(), image.shape().columns());
        let row_bytes = columns * image.dtype().bytes();
        // An even number of rows begins at a whole word, in f16 too.
        let most = (UPLOAD_PIECE / row_bytes.max(1)).max(2) / 2 * 2;
        for first_row in (0..rows).step_by(most) {
            let count = most.min(rows - first_row);
            let piece = self.allocate([count, columns].into(), image.dtype())?;
            let start = first_row * row_bytes;
            let end = (start + piece.byte_len() as usize).min(bytes.len());
            self.write_bytes(&piece, &bytes[start..end])?;
            let mut recorder = Recorder::new(self);
            ops::pack(&mut recorder, ops::Pack { source: Matrix::of(&piece), image, first_row })?;
            self.run(&recorder.finish()?)?;
            self.wait()?;
        }
        Ok(())
    }

    /// Waits until everything submitted is done; reports what the device complained of, if it did.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.poll("waiting for it")
    }

    /// Every kernel compiled so far, by key.
    pub(crate) fn compiled_kernels(&self) -> Vec<Kernel> {
        let pipelines = self.0.pipelines.lock().unwrap_or_else(|e| e.into_inner());
        let mut kernels: Vec<Kernel> = pipelines.values().map(|compiled| compiled.kernel.clone()).collect();
        kernels.sort_by_key(Kernel::key);
        kernels
    }

    /// The compiled kernel, from the cache or built now.
    pub(crate) fn pipeline(&self, kernel: &Kernel) -> Result<Compiled, GpuError> {
        let (key, identity) = (kernel.key(), kernel.identity());
        let mut pipelines = self.0.pipelines.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(compiled) = pipelines.get(&identity) {
            return Ok(compiled.clone());
        }
        let fail = |reason: String| GpuError::Kernel {
            kernel: key.clone(),
            adapter: self.adapter().name.clone(),
            reason,
        };
        let source = fault::source(&self.0.faults, kernel).map_err(&fail)?;
        let written = bindings_with(&source, &["var<storage, read_write>", ", write>"]);
        let images = bindings_with(&source, &["texture_storage_2d_array"]);
        let device = &self.0.device;
        let during = || format!("compiling the kernel '{key}'");
        self.healthy(during())?;
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        let module = if self.0.options.checked || kernel.is_custom() {
            device.create_shader_module(descriptor)
        } else {
            // SAFETY: the kernels are this crate's own; every operation in `ops` checks operand
            // shapes before it dispatches, the kernels clamp or guard each index by those shapes,
            // and their loops are bounded by them. The tests run the same kernels checked.
            #[allow(unsafe_code, reason = "kernels without the driver-side checks")]
            unsafe {
                device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
            }
        };
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel of this crate writes workgroup memory before it reads it.
                zero_initialize_workgroup_memory: kernel.is_custom(),
                ..Default::default()
            },
            cache: None,
        });
        let validation = pollster::block_on(validation.pop());
        let error = pollster::block_on(internal.pop()).or(validation);
        self.healthy(during())?;
        if let Some(error) = error {
            return Err(fail(error.to_string()));
        }
        let compiled = Compiled { kernel: kernel.clone(), pipeline, written, images };
        pipelines.insert(identity, compiled.clone());
        Ok(compiled)
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.adapter())
    }
}

/// Numbers of the bindings whose declaration has one of these texts in it.
fn bindings_with(source: &str, texts: &[&str]) -> Vec<u32> {
    source
        .lines()
        .filter(|line| texts.iter().any(|text| line.contains(text)))
        .filter_map(|line| line.split_once("@binding(")?.1.split_once(')')?.0.parse().ok())
        .collect()
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
