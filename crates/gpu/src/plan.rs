//! What something would allocate, added up without allocating it.

use crate::image::ImageLayout;
use crate::{Dtype, Gpu, Shape, Tensor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Adds up what is asked of a device.
#[derive(Clone, Default)]
pub(crate) struct Plan(Arc<Sums>);

#[derive(Default)]
struct Sums {
    kept: AtomicU64,
    /// The largest piece by which a matrix would be written into its image.
    piece: AtomicU64,
}

impl Plan {
    /// A tensor without memory, which would take so many bytes.
    pub(crate) fn tensor(
        &self,
        bytes: u64,
        layout: Option<ImageLayout>,
        shape: Shape,
        dtype: Dtype,
    ) -> Tensor {
        self.0.kept.fetch_add(bytes, Ordering::Relaxed);
        Tensor::planned(layout, shape, dtype)
    }

    /// Takes note of a piece that is needed for a moment.
    pub(crate) fn piece(&self, bytes: u64) {
        self.0.piece.fetch_max(bytes, Ordering::Relaxed);
    }
}

impl Gpu {
    /// Bytes that `build` would allocate on this device. It is given a stand-in for the device, on which everything can
    /// be recorded and nothing is: no memory is taken, no kernel compiled, nothing written. What it returns is
    /// dropped: tensors of a stand-in have no elements, and a real pass refuses them.
    ///
    /// # Errors
    /// Those of `build`, such as a tensor larger than one binding may be.
    pub fn planned_bytes<T, E>(&self, build: impl FnOnce(&Gpu) -> Result<T, E>) -> Result<u64, E> {
        let plan = Plan::default();
        build(&Gpu(self.0.clone(), Some(plan.clone())))?;
        Ok(plan.0.kept.load(Ordering::Relaxed) + plan.0.piece.load(Ordering::Relaxed))
    }

    /// Whether this is a stand-in.
    pub(crate) fn is_plan(&self) -> bool {
        self.1.is_some()
    }
}
