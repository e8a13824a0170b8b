//! A kernel of the caller's own among the steps of a pass.

use crate::kernel::Kernel;
use crate::{GpuError, Recorder, Tensor};

/// A kernel that this crate does not have.
#[derive(Clone, Copy, Debug)]
pub struct Custom<'a> {
    /// What it is called in errors and in [`KernelTime`](crate::KernelTime)s.
    pub name: &'static str,
    /// Its WGSL; the entry point is `main`. It is compiled when it is first recorded, always with the driver-side
    /// checks of bounds and loops.
    pub wgsl: &'a str,
    /// The members of the uniform struct at `@group(0) @binding(0)`, 4 bytes each (`f32::to_bits` for a float); with
    /// none there is no such binding.
    pub params: &'a [u32],
    /// `var<storage>` bindings of group 0 from 1 on: row-major, f16 as pairs in `u32`. What is written may not be bound
    /// twice.
    pub operands: &'a [&'a Tensor],
    /// Workgroups in x, y, z, at most 65,535 each; with a 0 nothing is done.
    pub workgroups: [u32; 3],
}

/// Adds the caller's own kernel to the pass.
///
/// ```
/// use retrograd_gpu::{Gpu, GpuOptions, Recorder, ops};
///
/// let wgsl = "
///     struct Params { count: u32, threshold: f32 }
///     @group(0) @binding(0) var<uniform> params: Params;
///     @group(0) @binding(1) var<storage, read> x: array<f32>;
///     @group(0) @binding(2) var<storage, read_write> y: array<f32>;
///     @compute @workgroup_size(64)
///     fn main(@builtin(global_invocation_id) id: vec3<u32>) {
///         if (id.x < params.count) {
///             y[id.x] = max(x[id.x], params.threshold);
///         }
///     }";
/// let gpu = Gpu::open(&GpuOptions::default())?;
/// let x = gpu.upload([3], &[-1.0, 0.5, 2.0])?;
/// let y = gpu.tensor([3])?;
/// let mut recorder = Recorder::new(&gpu);
/// let params = [3, 0.0_f32.to_bits()];
/// ops::custom(&mut recorder, ops::Custom { name: "relu", wgsl, params: &params, operands: &[&x, &y], workgroups: [1, 1, 1] })?;
/// gpu.run(&recorder.finish()?)?;
/// assert_eq!(gpu.read(&y)?, [0.0, 0.5, 2.0]);
/// # Ok::<(), retrograd_gpu::GpuError>(())
/// ```
///
/// # Errors
/// When it does not compile, an operand is an image, or one that is written is bound twice; by
/// [`Recorder::finish`], when the operands or parameters are not those that the WGSL declares.
pub fn custom(recorder: &mut Recorder, op: Custom<'_>) -> Result<(), GpuError> {
    let kernel = Kernel::custom(op.name, op.wgsl);
    let bindings: Vec<(u32, &Tensor)> = (1..).zip(op.operands.iter().copied()).collect();
    recorder.dispatch(&kernel, &bindings, op.params, op.workgroups)
}
