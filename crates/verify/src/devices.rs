//! The device that is verified, opened as often as it takes.

use retrograd_gpu::ops::GemmVariant;
use retrograd_gpu::{Fault, Gpu, GpuError, GpuOptions};

/// Opens the adapter under test, its kernels always compiled with the driver-side checks.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    options: GpuOptions,
    faults: Vec<Fault>,
}

impl Devices {
    /// The adapter that these options choose.
    pub fn new(options: GpuOptions) -> Self {
        Devices { options: GpuOptions { checked: true, ..options }, faults: Vec::new() }
    }

    /// The same with mistakes in its kernels.
    #[doc(hidden)]
    pub fn with_faults(self, faults: Vec<Fault>) -> Self {
        Devices { faults, ..self }
    }

    /// The device with products by `variant`, or by what the options or the adapter choose.
    pub(crate) fn open(&self, variant: Option<GemmVariant>) -> Result<Gpu, GpuError> {
        let options = GpuOptions { gemm: variant.or(self.options.gemm), ..self.options.clone() };
        Gpu::open_with_faults(&options, self.faults.clone())
    }
}
