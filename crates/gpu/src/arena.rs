//! Buffers and images are kept and handed out again, so that a pass repeated allocates nothing.

use crate::Dtype;
use crate::image::{Extents, Texture};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

/// Free buffers by size, free images by kind, and what has been allocated so far.
#[derive(Default)]
pub(crate) struct Arena {
    free: Mutex<HashMap<u64, Vec<wgpu::Buffer>>>,
    free_images: Mutex<HashMap<(Extents, Dtype), Vec<Texture>>>,
    stats: Mutex<ArenaStats>,
}

/// What an arena has allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStats {
    /// Buffers and images created since the device was opened; constant while passes are repeated.
    pub buffers_created: u64,
    /// Bytes held, in use or free.
    pub bytes_held: u64,
    /// Of these, bytes that wait for the next tensors.
    pub bytes_free: u64,
}

/// A buffer on loan from an [`Arena`].
pub(crate) struct Allocation {
    buffer: Option<wgpu::Buffer>,
    home: Weak<Arena>,
}

/// An image on loan from an [`Arena`].
pub(crate) struct Image {
    texture: Option<Texture>,
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

    /// A free image of this kind, or `None` when one must be created.
    pub(crate) fn reuse_image(self: &Arc<Self>, extents: Extents, dtype: Dtype) -> Option<Arc<Image>> {
        let mut free = self.free_images.lock().unwrap_or_else(|e| e.into_inner());
        let texture = free.get_mut(&(extents, dtype))?.pop()?;
        drop(free);
        Some(self.lend_image(texture))
    }

    /// Takes note of a new image and lends it.
    pub(crate) fn adopt_image(self: &Arc<Self>, texture: Texture) -> Arc<Image> {
        let mut stats = self.stats.lock().unwrap_or_else(|e| e.into_inner());
        stats.buffers_created += 1;
        stats.bytes_held += texture.bytes();
        drop(stats);
        self.lend_image(texture)
    }

    fn lend_image(self: &Arc<Self>, texture: Texture) -> Arc<Image> {
        Arc::new(Image { texture: Some(texture), home: Arc::downgrade(self) })
    }

    pub(crate) fn stats(&self) -> ArenaStats {
        let free = self.free.lock().unwrap_or_else(|e| e.into_inner());
        let buffers: u64 = free.iter().map(|(size, buffers)| size * buffers.len() as u64).sum();
        drop(free);
        let free = self.free_images.lock().unwrap_or_else(|e| e.into_inner());
        let images: u64 = free.values().flatten().map(Texture::bytes).sum();
        drop(free);
        let stats = *self.stats.lock().unwrap_or_else(|e| e.into_inner());
        // Another thread may have taken some of it, or trimmed, since it was counted.
        ArenaStats { bytes_free: (buffers + images).min(stats.bytes_held), ..stats }
    }

    /// Destroys every free buffer and image.
    pub(crate) fn trim(&self) {
        let free = std::mem::take(&mut *self.free.lock().unwrap_or_else(|e| e.into_inner()));
        let mut stats = self.stats.lock().unwrap_or_else(|e| e.into_inner());
        for buffer in free.into_values().flatten() {
            stats.bytes_held -= buffer.size();
            buffer.destroy();
        }
        let images = std::mem::take(&mut *self.free_images.lock().unwrap_or_else(|e| e.into_inner()));
        for texture in images.into_values().flatten() {
            stats.bytes_held -= texture.bytes();
            texture.destroy();
        }
    }
}

impl Allocation {
    pub(crate) fn buffer(&self) -> &wgpu::Buffer {
        // Taken only by `drop`.
        self.buffer.as_ref().expect("an allocation holds its buffer until it is dropped")
    }
}

impl Image {
    pub(crate) fn texture(&self) -> &Texture {
        // Taken only by `drop`.
        self.texture.as_ref().expect("an image holds its texture until it is dropped")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let (Some(texture), Some(arena)) = (self.texture.take(), self.home.upgrade()) {
            let mut free = arena.free_images.lock().unwrap_or_else(|e| e.into_inner());
            free.entry(texture.kind()).or_default().push(texture);
        }
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
