//! A small tensor engine on `wgpu`: tensors on a device, passes recorded once and run many times,
//! WGSL kernels with typed Rust operations in front. It knows nothing of GPT-2.
//!
//! ```no_run
//! use retrograd_gpu::{ops, Gpu, GpuOptions, Recorder};
//!
//! let gpu = Gpu::open(&GpuOptions::default())?;
//! let a = gpu.upload([2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! let b = gpu.upload([3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0])?;
//! let c = gpu.tensor([2, 2])?;
//! let mut recorder = Recorder::new(&gpu);
//! ops::gemm(&mut recorder, ops::Gemm::nn(&a, &b, &c))?;
//! let pass = recorder.finish()?;
//! gpu.run(&pass)?;
//! assert_eq!(gpu.read(&c)?, [4.0, 5.0, 10.0, 11.0]);
//! # Ok::<(), retrograd_gpu::GpuError>(())
//! ```

mod adapter;
mod arena;
mod error;
mod failure;
mod fault;
mod gpu;
mod image;
mod kernel;
pub mod ops;
mod pass;
mod pipeline;
mod plan;
mod readback;
mod recorder;
mod tensor;
mod unblock;
mod upload;

pub use adapter::{AdapterDescription, AdapterReport, GpuOptions, enumerate_adapters};
pub use arena::ArenaStats;
pub use error::GpuError;
#[doc(hidden)]
pub use fault::Fault;
pub use gpu::{Capabilities, Gpu};
pub use kernel::dump_shaders;
pub use pass::{KernelTime, Pass};
pub use readback::HostData;
pub use recorder::{Recorder, SumOrder};
pub use tensor::{Dtype, Shape, Tensor};
pub use unblock::{Unblocked, unblock};
