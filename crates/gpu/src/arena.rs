//! Buffers are kept and handed out again, so that a pass repeated allocates nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

/// Free buffers by size, and what has been allocated so far.
#[derive(Default)]
pub(crate) struct Arena {
    free: Mutex<HashMap<u64, Vec<wgpu::Buffer>>>,
    stats: Mutex<ArenaStats>,
}

/// What an arena has allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStats {
    /// Buffers created since the device was opened; constant while passes are repeated.
    pub buffers_created: u64,
    /// Bytes held, in use or free.
    pub bytes_held: u64,
}

/// A buffer on loan from an [`Arena`].
pub(crate) struct Allocation {
    buffer: Option<wgpu::Buffer>,
    home: Weak<Arena>,
}

/// Sizes are rounded up to this many bytes so that near-equal tensors share buffers.
const GRANULE: u64 = 256;

impl Arena {
    pub(crate) fn rounded(bytes: u64) -> u64 {
        bytes.max(1).next_multiple_of(GRANULE)
    }

    /// A free buffer of at least `bytes`, or `None` when one must be created.
    pub(crate) fn reuse(self: &Arc<Self>, bytes: u64) -> Option<Arc<Allocation>> {
        let buffer =
            self.free.lock().unwrap_or_else(|e| e.into_inner()).get_mut(&Self::rounded(bytes))?.pop()?;
        Some(self.lend(buffer))
    }

    /// Takes note of a new buffer and lends it.
    pub(crate) fn adopt(self: &Arc<Self>, buffer: wgpu::Buffer) -> Arc<Allocation> {
        let mut stats = self.stats.lock().unwrap_or_else(|e| e.into_inner());
        stats.buffers_created += 1;
        stats.bytes_held += buffer.size();
        drop(stats);
        self.lend(buffer)
    }

    fn lend(self: &Arc<Self>, buffer: wgpu::Buffer) -> Arc<Allocation> {
        Arc::new(Allocation { buffer: Some(buffer), home: Arc::downgrade(self) })
    }

    pub(crate) fn stats(&self) -> ArenaStats {
        *self.stats.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Destroys every free buffer.
    pub(crate) fn trim(&self) {
        let free = std::mem::take(&mut *self.free.lock().unwrap_or_else(|e| e.into_inner()));
        let mut stats = self.stats.lock().unwrap_or_else(|e| e.into_inner());
        for buffer in free.into_values().flatten() {
            stats.bytes_held -= buffer.size();
            buffer.destroy();
        }
    }
}

impl Allocation {
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        // Taken only by `drop`.
        self.buffer.as_ref().expect("an allocation holds its buffer until it is dropped")
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if let (Some(buffer), Some(arena)) = (self.buffer.take(), self.home.upgrade()) {
            arena
                .free
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .entry(buffer.size())
                .or_default()
                .push(buffer);
        }
    }
}
