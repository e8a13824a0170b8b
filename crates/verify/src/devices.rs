//! The device that is verified, opened as often as it takes.

use retrograd_gpu::ops::{GemmVariant, WorkgroupTile};
use retrograd_gpu::{Fault, Gpu, GpuError, GpuOptions, dump_shaders};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Opens the adapter under test, its kernels always compiled with the driver-side checks.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    options: GpuOptions,
    faults: Vec<Fault>,
    /// Devices that were opened, where their shaders are wanted afterwards.
    opened: Option<Arc<Mutex<Vec<Gpu>>>>,
}

impl Devices {
    /// The adapter that these options choose.
    pub fn new(options: GpuOptions) -> Self {
        Devices { options: GpuOptions { checked: true, ..options }, ..Devices::default() }
    }

    /// The same with mistakes in its kernels.
    #[doc(hidden)]
    pub fn with_faults(self, faults: Vec<Fault>) -> Self {
        Devices { faults, ..self }
    }

    /// The same, with what they compile kept for [`shaders`](Devices::shaders).
    pub fn keeping_shaders(self) -> Self {
        Devices { opened: Some(Arc::default()), ..self }
    }

    /// Every kernel variant that was compiled, as (file name, WGSL text), by name; nothing unless
    /// [`keeping_shaders`](Devices::keeping_shaders).
    pub fn shaders(&self) -> Result<BTreeMap<String, String>, GpuError> {
        let opened = self.opened.as_ref().map(|opened| opened.lock().unwrap_or_else(|e| e.into_inner()));
        let mut shaders = BTreeMap::new();
        for gpu in opened.iter().flat_map(|opened| opened.iter()) {
            shaders.extend(dump_shaders(gpu)?);
        }
        Ok(shaders)
    }

    /// The device with products by `variant`, or by what the options or the adapter choose.
    pub(crate) fn open(&self, variant: Option<GemmVariant>) -> Result<Gpu, GpuError> {
        self.open_with(GpuOptions { gemm: variant.or(self.options.gemm), ..self.options.clone() })
    }

    /// The device with products by one tile of the workgroup variant.
    pub(crate) fn open_tiled(&self, tile: WorkgroupTile) -> Result<Gpu, GpuError> {
        let gemm = Some(GemmVariant::Workgroup);
        self.open_with(GpuOptions { gemm, workgroup_tile: Some(tile), ..self.options.clone() })
    }

    fn open_with(&self, options: GpuOptions) -> Result<Gpu, GpuError> {
        let gpu = Gpu::open_with_faults(&options, self.faults.clone())?;
        if let Some(opened) = &self.opened {
            let mut opened = opened.lock().unwrap_or_else(|e| e.into_inner());
            // Only what they compiled is of use now.
            opened.iter().for_each(Gpu::trim);
            opened.push(gpu.clone());
        }
        Ok(gpu)
    }
}
