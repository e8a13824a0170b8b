//! The calls that wait, for programs that must not block; see [`unblock`].

use crate::{Gpt2, ModelError, Precision, Trace};
use retrograd_formats::{HostTensor, RequestError, Site, TraceRead, TraceRequest};
use retrograd_gpu::{Gpu, Unblocked, unblock};
use std::path::PathBuf;
use std::sync::Arc;

impl Gpt2 {
    /// [`load`](Gpt2::load) without blocking.
    ///
    /// # Errors
    /// As [`load`](Gpt2::load).
    pub fn load_async(
        gpu: &Gpu,
        dir: impl Into<PathBuf>,
        precision: Precision,
    ) -> Unblocked<Result<Gpt2, ModelError>> {
        let (gpu, dir) = (gpu.clone(), dir.into());
        unblock(move || Gpt2::load(&gpu, dir, precision))
    }

    /// [`trace`](Gpt2::trace) without blocking.
    ///
    /// # Errors
    /// As [`trace`](Gpt2::trace).
    pub fn trace_async(&self, request: TraceRequest) -> Unblocked<Result<Trace, ModelError>> {
        let model = self.clone();
        unblock(move || model.trace(&request))
    }
}

impl Trace {
    /// [`read_all`](TraceRead::read_all) without blocking.
    ///
    /// # Errors
    /// As [`read_all`](TraceRead::read_all).
    pub fn read_all_async(
        self: &Arc<Self>,
        sites: Vec<Site>,
    ) -> Unblocked<Result<Vec<HostTensor>, RequestError>> {
        let trace = self.clone();
        unblock(move || trace.read_all(&sites))
    }
}
