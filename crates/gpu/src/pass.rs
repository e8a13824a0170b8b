//! A recorded pass: run it, or run it with a clock on every kernel.

use crate::{Gpu, GpuError, Tensor};
use std::time::{Duration, Instant};

const RUNNING: &str = "running a pass";

pub(crate) struct Dispatch {
    pub(crate) label: String,
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) bind_group: wgpu::BindGroup,
    pub(crate) grid: [u32; 3],
    // The bind group holds the buffers; these keep them from returning to the arena.
    pub(crate) _tensors: Vec<Tensor>,
}

pub(crate) enum Step {
    Dispatch(Dispatch),
    Copy { from: Tensor, from_byte: u64, to: Tensor, to_byte: u64, bytes: u64 },
    CopyToImage { from: Tensor, from_byte: u64, bytes_per_row: u32, image: Tensor, rows: u32 },
    Clear(Tensor),
}

/// A recorded pass. It holds its tensors, pipelines and bind groups: running it allocates nothing.
pub struct Pass {
    steps: Vec<Step>,
}

/// Time one dispatch took on the device.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// Kernel and variant.
    pub kernel: String,
    /// Start, in nanoseconds from the start of the first dispatch.
    pub start_ns: f64,
    /// Duration in nanoseconds.
    pub duration_ns: f64,
}

impl Pass {
    pub(crate) fn new(steps: Vec<Step>) -> Self {
        Pass { steps }
    }

    /// Number of kernel dispatches.
    pub fn dispatches(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Dispatch(_))).count()
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, queries: Option<&wgpu::QuerySet>) {
        encode(&self.steps, encoder, queries);
    }
}

/// Writes steps into a command buffer, neighbouring dispatches in one compute pass unless each is to be timed.
fn encode(steps: &[Step], encoder: &mut wgpu::CommandEncoder, queries: Option<&wgpu::QuerySet>) {
    let mut steps = steps.iter().peekable();
    let mut query = 0;
    while let Some(step) = steps.next() {
        match step {
            Step::Copy { from, from_byte, to, to_byte, bytes } => {
                // `Recorder::copy` and `clear` let only buffers through.
                if let (Some(from), Some(to)) = (from.buffer(), to.buffer()) {
                    encoder.copy_buffer_to_buffer(from, *from_byte, to, *to_byte, Some(*bytes));
                }
            }
            Step::CopyToImage { from, from_byte, bytes_per_row, image, rows } => {
                // Recorded only with a buffer and an image.
                if let (Some(buffer), Some(texture)) = (from.buffer(), image.texture()) {
                    let width = texture.kind().0.width;
                    encoder.copy_buffer_to_texture(
                        wgpu::TexelCopyBufferInfo {
                            buffer,
                            layout: wgpu::TexelCopyBufferLayout {
                                offset: *from_byte,
                                bytes_per_row: Some(*bytes_per_row),
                                rows_per_image: None,
                            },
                        },
                        texture.texture().as_image_copy(),
                        wgpu::Extent3d { width, height: *rows, depth_or_array_layers: 1 },
                    );
                }
            }
            Step::Clear(tensor) => {
                if let Some(buffer) = tensor.buffer() {
                    encoder.clear_buffer(buffer, 0, None);
                }
            }
            Step::Dispatch(first) => {
                let timestamp_writes = queries.map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(query),
                    end_of_pass_write_index: Some(query + 1),
                });
                query += 2;
                let descriptor = wgpu::ComputePassDescriptor { label: Some(&first.label), timestamp_writes };
                let mut pass = encoder.begin_compute_pass(&descriptor);
                let mut next = Some(first);
                while let Some(dispatch) = next {
                    pass.set_pipeline(&dispatch.pipeline);
                    pass.set_bind_group(0, &dispatch.bind_group, &[]);
                    let [x, y, z] = dispatch.grid;
                    pass.dispatch_workgroups(x, y, z);
                    // Timed: one pass per kernel. Otherwise all neighbours share one.
                    next = match steps.peek() {
                        Some(Step::Dispatch(following)) if queries.is_none() => {
                            steps.next();
                            Some(following)
                        }
                        _ => None,
                    };
                }
            }
        }
    }
}

impl Gpu {
    /// Submits a pass; returns without waiting. Results are there for any later read.
    pub fn run(&self, pass: &Pass) -> Result<(), GpuError> {
        if self.is_plan() {
            return Ok(());
        }
        self.healthy(RUNNING)?;
        let mut encoder = self.0.device.create_command_encoder(&Default::default());
        pass.encode(&mut encoder, None);
        self.submit(encoder, RUNNING)
    }

    /// Runs a pass with a clock on every dispatch, and waits. `None` when the adapter has no
    /// timestamps; the pass has run either way.
    ///
    /// On a software adapter the clock is the host's and every dispatch is submitted by itself: lavapipe writes its
    /// timestamps when it gets round to it, not when the kernel ends.
    pub fn run_timed(&self, pass: &Pass) -> Result<Option<Vec<KernelTime>>, GpuError> {
        if !self.capabilities().timestamps || pass.dispatches() == 0 {
            self.run(pass)?;
            self.wait()?;
            return Ok(None);
        }
        if self.adapter().is_software() {
            return self.run_stepped(pass).map(Some);
        }
        let device = &self.0.device;
        let count = 2 * pass.dispatches() as u32;
        let limit = wgpu::QUERY_SET_MAX_QUERIES;
        if count > limit {
            return Err(GpuError::Unsupported {
                op: "run_timed",
                reason: format!(
                    "{} dispatches; at most {} can be timed in one pass",
                    pass.dispatches(),
                    limit / 2
                ),
            });
        }
        let bytes = u64::from(count) * 8;
        let queries = self.create("a pass's clock", bytes, |device| {
            device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("kernel times"),
                ty: wgpu::QueryType::Timestamp,
                count,
            })
        })?;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = self.create("a pass's times", bytes, |device| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("kernel times"),
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        })?;
        let mut encoder = device.create_command_encoder(&Default::default());
        pass.encode(&mut encoder, Some(&queries));
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        self.submit(encoder, RUNNING)?;
        let raw = self.read_bytes(&resolved, bytes)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&raw);
        let period = f64::from(self.0.queue.get_timestamp_period());
        let origin = ticks[0];
        let labels = pass.steps.iter().filter_map(|step| match step {
            Step::Dispatch(dispatch) => Some(dispatch.label.clone()),
            _ => None,
        });
        let times = labels
            .zip(ticks.chunks_exact(2))
            .map(|(kernel, pair)| KernelTime {
                kernel,
                start_ns: pair[0].wrapping_sub(origin) as f64 * period,
                duration_ns: pair[1].wrapping_sub(pair[0]) as f64 * period,
            })
            .collect();
        Ok(Some(times))
    }

    /// Every step by itself, by the host's clock.
    fn run_stepped(&self, pass: &Pass) -> Result<Vec<KernelTime>, GpuError> {
        self.wait()?;
        let mut times = Vec::with_capacity(pass.dispatches());
        let origin = Instant::now();
        for step in &pass.steps {
            let start = origin.elapsed();
            let mut encoder = self.0.device.create_command_encoder(&Default::default());
            encode(std::slice::from_ref(step), &mut encoder, None);
            self.submit(encoder, RUNNING)?;
            self.wait()?;
            if let Step::Dispatch(dispatch) = step {
                // The first dispatch begins the count.
                let first = times.first().map_or(start, |(first, _): &(Duration, KernelTime)| *first);
                let time = KernelTime {
                    kernel: dispatch.label.clone(),
                    start_ns: (start - first).as_nanos() as f64,
                    duration_ns: (origin.elapsed() - start).as_nanos() as f64,
                };
                times.push((start, time));
            }
        }
        Ok(times.into_iter().map(|(_, time)| time).collect())
    }
}
