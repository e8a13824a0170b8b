//! A pass is written down once, checked while it is, and then run as often as wanted.

use crate::image::ImageLayout;
use crate::kernel::Kernel;
use crate::pass::{Dispatch, Pass, Step};
use crate::{Dtype, Gpu, GpuError, Shape, Tensor};
use std::collections::HashMap;

/// At most this many workgroups per dimension on any WebGPU device.
pub(crate) const MAX_WORKGROUPS: u32 = 65_535;

/// Writes down dispatches, copies and clears; [`finish`](Recorder::finish) makes a [`Pass`] of them.
pub struct Recorder {
    pub(crate) gpu: Gpu,
    steps: Vec<Recorded>,
    uniforms: Vec<u8>,
    /// Images into which products pack their operands, one after the other.
    scratch: HashMap<(&'static str, Shape, Dtype), Tensor>,
    pub(crate) sum_order: SumOrder,
    /// First step that could not be recorded by a function that cannot say so itself.
    refused: Option<GpuError>,
}

/// In what order products add up, where a device has several tiles that differ in it (GPUs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SumOrder {
    /// One order for all: an element has the same bits whatever else a product computes, so that a sequence does not depend on
    /// its batch, nor a token's logit on the others.
    #[default]
    Alike,
    /// By the extents of each product: for training, whose gradients are sums over the batch anyhow.
    Fastest,
}

enum Recorded {
    Dispatch {
        label: String,
        pipeline: wgpu::ComputePipeline,
        bindings: Vec<(u32, Tensor)>,
        uniform_at: u64,
        uniform_bytes: u64,
        grid: [u32; 3],
    },
    Copy {
        from: Tensor,
        from_byte: u64,
        to: Tensor,
        to_byte: u64,
        bytes: u64,
    },
    CopyToImage {
        from: Tensor,
        from_byte: u64,
        bytes_per_row: u32,
        image: Tensor,
        rows: u32,
    },
    Clear(Tensor),
}

impl Recorder {
    /// An empty recording.
    pub fn new(gpu: &Gpu) -> Self {
        Recorder {
            gpu: gpu.clone(),
            steps: Vec::new(),
            uniforms: Vec::new(),
            scratch: HashMap::new(),
            sum_order: SumOrder::default(),
            refused: None,
        }
    }

    /// An empty recording whose products add up in this order.
    pub fn with_sum_order(gpu: &Gpu, sum_order: SumOrder) -> Self {
        Recorder { sum_order, ..Recorder::new(gpu) }
    }

    /// The device this records for.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Adds a dispatch. `params` becomes the uniform struct at binding 0, where there are any; storage bindings follow
    /// from 1.
    pub(crate) fn dispatch(
        &mut self,
        kernel: &Kernel,
        bindings: &[(u32, &Tensor)],
        params: &[u32],
        grid: [u32; 3],
    ) -> Result<(), GpuError> {
        if grid.contains(&0) {
            return Ok(());
        }
        if grid.iter().any(|&extent| extent > MAX_WORKGROUPS) {
            return Err(GpuError::Unsupported {
                op: kernel.name,
                reason: format!("{grid:?} workgroups; a dimension holds at most {MAX_WORKGROUPS}"),
            });
        }
        if self.gpu.is_plan() {
            return Ok(());
        }
        if bindings.iter().any(|(_, tensor)| tensor.is_planned()) {
            let expected = "tensors with memory; this one belongs to an estimate";
            return Err(GpuError::Layout { op: kernel.name, operand: "an operand", expected });
        }
        let compiled = self.gpu.pipeline(kernel)?;
        if bindings.iter().any(|(at, tensor)| tensor.is_image() != compiled.images.contains(at)) {
            return Err(GpuError::Layout {
                op: kernel.name,
                operand: "an operand",
                expected: "buffers, but for the operands of products and lookups",
            });
        }
        for (at, tensor) in bindings.iter().filter(|(at, _)| compiled.written.contains(at)) {
            if bindings.iter().any(|(other, operand)| other != at && operand.shares_storage(tensor)) {
                return Err(GpuError::Aliased { op: kernel.name, found: tensor.shape() });
            }
        }
        let alignment = u64::from(self.gpu.0.device.limits().min_uniform_buffer_offset_alignment);
        let uniform_at = (self.uniforms.len() as u64).next_multiple_of(alignment);
        self.uniforms.resize(uniform_at as usize, 0);
        self.uniforms.extend_from_slice(bytemuck::cast_slice(params));
        // A uniform struct's size is a multiple of 16 bytes.
        let uniform_bytes = ((params.len() * 4) as u64).next_multiple_of(16);
        self.uniforms.resize((uniform_at + uniform_bytes) as usize, 0);
        self.steps.push(Recorded::Dispatch {
            label: kernel.key(),
            pipeline: compiled.pipeline,
            bindings: bindings.iter().map(|(at, tensor)| (*at, (*tensor).clone())).collect(),
            uniform_at,
            uniform_bytes,
            grid,
        });
        Ok(())
    }

    /// Copies `count` elements between tensors of one element type.
    pub fn copy(
        &mut self,
        from: &Tensor,
        from_element: usize,
        to: &Tensor,
        to_element: usize,
        count: usize,
    ) -> Result<(), GpuError> {
        if from.dtype() != to.dtype() {
            return Err(GpuError::Dtype { op: "copy", operand: "to", expected: "both tensors must agree" });
        }
        for (operand, tensor, start) in [("from", from, from_element), ("to", to, to_element)] {
            if start + count > tensor.len() {
                return Err(GpuError::Shape {
                    op: "copy",
                    operand,
                    found: tensor.shape(),
                    expected: format!("at least {} elements", start + count),
                });
            }
        }
        if self.gpu.is_plan() {
            return Ok(());
        }
        let (Some(_), Some(_)) = (from.buffer(), to.buffer()) else {
            return Err(GpuError::Layout { op: "copy", operand: "from or to", expected: "buffers" });
        };
        let size = from.dtype().bytes();
        self.steps.push(Recorded::Copy {
            from: from.clone(),
            from_byte: (from_element * size) as u64,
            to: to.clone(),
            to_byte: (to_element * size) as u64,
            bytes: (count * size) as u64,
        });
        Ok(())
    }

    /// Copies rows of whole texels into the first rows of an image that lies row by row.
    pub(crate) fn copy_to_image(
        &mut self,
        from: &Tensor,
        from_byte: u64,
        bytes_per_row: u32,
        image: &Tensor,
        rows: u32,
    ) {
        let (from, image) = (from.clone(), image.clone());
        self.steps.push(Recorded::CopyToImage { from, from_byte, bytes_per_row, image, rows });
    }

    /// Sets every element to zero. A tensor in an image is refused by [`finish`](Recorder::finish).
    pub fn clear(&mut self, tensor: &Tensor) {
        if tensor.is_image() {
            let refused = GpuError::Layout { op: "clear", operand: "tensor", expected: "a buffer" };
            self.refused.get_or_insert(refused);
            return;
        }
        self.steps.push(Recorded::Clear(tensor.clone()));
    }

    /// An image of this shape that every product of the pass may overwrite: `None` where the device has none that
    /// large. `operand` tells those apart that one product needs together.
    pub(crate) fn scratch_image(
        &mut self,
        operand: &'static str,
        shape: Shape,
        dtype: Dtype,
    ) -> Result<Option<Tensor>, GpuError> {
        let key = (operand, shape, dtype);
        if let Some(image) = self.scratch.get(&key) {
            return Ok(Some(image.clone()));
        }
        let image = self.gpu.allocate_image(ImageLayout::Rows, shape, dtype)?;
        if let Some(image) = &image {
            self.scratch.insert(key, image.clone());
        }
        Ok(image)
    }

    /// Builds bind groups and the uniform buffer: everything a run needs but the command buffer.
    pub fn finish(self) -> Result<Pass, GpuError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.gpu.is_plan() {
            return Ok(Pass::new(Vec::new()));
        }
        let device = &self.gpu.0.device;
        let bytes = (self.uniforms.len() as u64).max(16).next_multiple_of(4);
        let uniforms = self.gpu.create("a pass's parameters", bytes, |device| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("pass parameters"),
                size: bytes,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        })?;
        self.gpu.0.queue.write_buffer(&uniforms, 0, &self.uniforms);
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let steps = self
            .steps
            .into_iter()
            .map(|step| match step {
                Recorded::Dispatch { label, pipeline, bindings, uniform_at, uniform_bytes, grid } => {
                    let parameters =
                        std::num::NonZeroU64::new(uniform_bytes).map(|size| wgpu::BindGroupEntry {
                            binding: 0,
                            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                                buffer: &uniforms,
                                offset: uniform_at,
                                size: Some(size),
                            }),
                        });
                    let storage = bindings.iter().filter_map(|(at, tensor)| {
                        Some(wgpu::BindGroupEntry { binding: *at, resource: tensor.binding()? })
                    });
                    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                        label: Some(&label),
                        layout: &pipeline.get_bind_group_layout(0),
                        entries: &parameters.into_iter().chain(storage).collect::<Vec<_>>(),
                    });
                    let tensors = bindings.into_iter().map(|(_, tensor)| tensor).collect();
                    Step::Dispatch(Dispatch { label, pipeline, bind_group, grid, _tensors: tensors })
                }
                Recorded::Copy { from, from_byte, to, to_byte, bytes } => {
                    Step::Copy { from, from_byte, to, to_byte, bytes }
                }
                Recorded::CopyToImage { from, from_byte, bytes_per_row, image, rows } => {
                    Step::CopyToImage { from, from_byte, bytes_per_row, image, rows }
                }
                Recorded::Clear(tensor) => Step::Clear(tensor),
            })
            .collect();
        let error = pollster::block_on(scope.pop());
        self.gpu.healthy("building a pass")?;
        if let Some(error) = error {
            return Err(self.gpu.failed("building a pass", error));
        }
        Ok(Pass::new(steps))
    }
}
