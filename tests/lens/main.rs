//! The lens and the gradients' singular values, on a device and by the oracle: against PyTorch and NumPy on random
//! models, against published values where GPT-2's weights are at hand.

mod flow;
mod published;
mod pytorch;

use retrograd::{Gpu, GpuOptions};
use std::sync::OnceLock;

/// One device for all tests, its kernels compiled with the driver's checks.
fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap())
}
