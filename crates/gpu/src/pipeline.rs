//! Kernels compiled on a device, each once.

use crate::fault;
use crate::kernel::Kernel;
use crate::{Gpu, GpuError};

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

impl Gpu {
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

/// Numbers of the bindings whose declaration has one of these texts in it.
fn bindings_with(source: &str, texts: &[&str]) -> Vec<u32> {
    source
        .lines()
        .filter(|line| texts.iter().any(|text| line.contains(text)))
        .filter_map(|line| line.split_once("@binding(")?.1.split_once(')')?.0.parse().ok())
        .collect()
}
