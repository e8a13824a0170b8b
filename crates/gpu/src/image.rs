//! Matrices as images: the layout that matrix products read fastest on a software driver.
//!
//! A storage buffer is loaded lane by lane and number by number there, with a test of the mask and of the bounds for
//! each: six to eight instructions a number. A texel is loaded whole, four numbers in one instruction, and its bounds
//! are tested for all lanes together. So the operands of products are kept as arrays of textures.
//!
//! A matrix that is kept (a weight) is cut into strips of 64 columns, one layer each: texel (x, y) of layer l holds
//! elements `64l + 4x .. 64l + 4x + 4` of row y. A strip's rows follow each other in memory, so that a product that goes
//! down the rows reads on, and does not touch a page for each row. One that is packed for a single product (an activation)
//! lies row by row in one layer, which is how a plain copy of its buffer leaves it. Elements past the last column are 0.

use crate::{Dtype, Shape};

/// Texels in a row of a strip.
const STRIP_QUADS: usize = 16;

/// How a matrix lies in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ImageLayout {
    /// In strips of 64 columns, a layer each.
    Strips = 1,
    /// Row by row in one layer.
    Rows = 2,
}

/// Extents of the texture that holds a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Extents {
    pub(crate) layout: ImageLayout,
    pub(crate) width: u32,
    pub(crate) rows: u32,
    layers: u32,
}

impl Extents {
    /// Of a matrix of this shape; `None` where a device with these limits has no texture that large.
    pub(crate) fn of(layout: ImageLayout, shape: Shape, limits: &wgpu::Limits) -> Option<Extents> {
        let (rows, quads) = (shape.rows(), shape.columns().div_ceil(4));
        let (width, layers) = match layout {
            ImageLayout::Strips => (quads.min(STRIP_QUADS), quads.div_ceil(STRIP_QUADS)),
            ImageLayout::Rows => (quads, 1),
        };
        let fits = rows > 0
            && width > 0
            && rows.max(width) <= limits.max_texture_dimension_2d as usize
            && layers <= limits.max_texture_array_layers as usize;
        fits.then_some(Extents { layout, width: width as u32, rows: rows as u32, layers: layers as u32 })
    }

    /// Bytes that a matrix of this element type takes.
    pub(crate) fn bytes(&self, dtype: Dtype) -> u64 {
        u64::from(self.width) * u64::from(self.rows) * u64::from(self.layers) * 4 * dtype.bytes() as u64
    }
}

/// A texture that holds a matrix.
pub(crate) struct Texture {
    texture: wgpu::Texture,
    view: wgpu::TextureView,
    extents: Extents,
    dtype: Dtype,
}

impl Texture {
    /// A texture whose texels are unspecified until they are written.
    pub(crate) fn new(device: &wgpu::Device, extents: Extents, dtype: Dtype) -> Self {
        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("matrix"),
            size: wgpu::Extent3d {
                width: extents.width,
                height: extents.rows,
                depth_or_array_layers: extents.layers,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: match dtype {
                Dtype::F16 => wgpu::TextureFormat::Rgba16Float,
                Dtype::F32 | Dtype::U32 => wgpu::TextureFormat::Rgba32Float,
            },
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor {
            dimension: Some(wgpu::TextureViewDimension::D2Array),
            ..Default::default()
        });
        Texture { texture, view, extents, dtype }
    }

    pub(crate) fn view(&self) -> &wgpu::TextureView {
        &self.view
    }

    pub(crate) fn texture(&self) -> &wgpu::Texture {
        &self.texture
    }

    /// What another matrix must have in common with it to take its place.
    pub(crate) fn kind(&self) -> (Extents, Dtype) {
        (self.extents, self.dtype)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.extents.bytes(self.dtype)
    }

    pub(crate) fn destroy(self) {
        self.texture.destroy();
    }
}
