//! A tensor on the device: a buffer (or an image) of its own, a shape and an element type.

use crate::arena::{Allocation, Image};
use crate::image::{ImageLayout, Texture};
use std::fmt;
use std::sync::Arc;

/// Extents, slowest dimension first; up to four of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    extents: [usize; 4],
    rank: usize,
}

impl Shape {
    /// Extents, slowest first.
    pub fn dims(&self) -> &[usize] {
        &self.extents[..self.rank]
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims().iter().product()
    }

    /// The fastest extent; 1 for a scalar.
    pub fn columns(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// Elements divided by [`columns`](Shape::columns): the rows of the matrix that the tensor is.
    pub fn rows(&self) -> usize {
        self.dims()[..self.rank.saturating_sub(1)].iter().product()
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        const { assert!(N <= 4, "tensors have at most four dimensions") };
        let mut extents = [1; 4];
        extents[..N].copy_from_slice(&dims);
        Shape { extents, rank: N }
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// Element type of a [`Tensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 16-bit float, two to a word; read by kernels through `unpack2x16float`.
    F16,
    /// 32-bit unsigned integer.
    U32,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F32 | Dtype::U32 => 4,
            Dtype::F16 => 2,
        }
    }
}

/// A dense, row-major tensor in a device buffer of its own, or a matrix in an image of its own.
///
/// Clones share the buffer. When the last clone is dropped the buffer returns to the arena of its
/// [`Gpu`](crate::Gpu) and serves the next tensor of that size. An image
/// ([`Gpu::allocate_operand`](crate::Gpu::allocate_operand)) can be written, read, multiplied and looked up in; other
/// operations refuse it.
#[derive(Clone)]
pub struct Tensor {
    storage: Storage,
    shape: Shape,
    dtype: Dtype,
}

/// Where the elements lie.
#[derive(Clone)]
enum Storage {
    Buffer(Arc<Allocation>),
    Image(Arc<Image>),
    /// Nowhere: see [`Gpu::planned_bytes`](crate::Gpu::planned_bytes).
    Planned(Option<ImageLayout>),
}

impl Tensor {
    pub(crate) fn new(allocation: Arc<Allocation>, shape: Shape, dtype: Dtype) -> Self {
        Tensor { storage: Storage::Buffer(allocation), shape, dtype }
    }

    pub(crate) fn in_image(image: Arc<Image>, shape: Shape, dtype: Dtype) -> Self {
        Tensor { storage: Storage::Image(image), shape, dtype }
    }

    /// One that has no elements and would lie in a buffer or in an image of this layout.
    pub(crate) fn planned(layout: Option<ImageLayout>, shape: Shape, dtype: Dtype) -> Self {
        Tensor { storage: Storage::Planned(layout), shape, dtype }
    }

    pub(crate) fn is_planned(&self) -> bool {
        matches!(self.storage, Storage::Planned(_))
    }

    /// Whether it is a matrix in an image, the layout that products read fastest on some devices.
    pub fn is_image(&self) -> bool {
        self.image_layout().is_some()
    }

    /// How it lies in its image; `None` for a buffer.
    pub(crate) fn image_layout(&self) -> Option<ImageLayout> {
        match &self.storage {
            Storage::Buffer(_) => None,
            Storage::Image(image) => Some(image.texture().kind().0.layout),
            Storage::Planned(layout) => *layout,
        }
    }

    /// The image's texture; `None` for a buffer.
    pub(crate) fn texture(&self) -> Option<&Texture> {
        match &self.storage {
            Storage::Image(image) => Some(image.texture()),
            Storage::Buffer(_) | Storage::Planned(_) => None,
        }
    }

    /// Its extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Its element type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.elements()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of its elements in bytes, rounded up to whole words.
    pub fn byte_len(&self) -> u64 {
        byte_len(self.shape, self.dtype)
    }

    /// The same elements under another shape with as many; an image keeps its columns too.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        assert_eq!(shape.elements(), self.len(), "reshape keeps the number of elements");
        assert!(!self.is_image() || shape.columns() == self.shape.columns(), "an image keeps its columns");
        Tensor { storage: self.storage.clone(), shape, dtype: self.dtype }
    }

    /// The first elements under another shape, in the same memory: for scratch that serves several sizes in turn.
    pub fn prefix(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        assert!(shape.elements() <= self.len(), "a prefix of {} has no {shape}", self.shape);
        assert!(!self.is_image(), "an image has no prefix");
        Tensor { storage: self.storage.clone(), shape, dtype: self.dtype }
    }

    /// Its buffer; `None` for an image.
    pub(crate) fn buffer(&self) -> Option<&wgpu::Buffer> {
        match &self.storage {
            Storage::Buffer(allocation) => Some(allocation.buffer()),
            Storage::Image(_) | Storage::Planned(_) => None,
        }
    }

    /// What a kernel binds; `None` for a tensor without memory.
    pub(crate) fn binding(&self) -> Option<wgpu::BindingResource<'_>> {
        match &self.storage {
            Storage::Buffer(allocation) => Some(allocation.buffer().as_entire_binding()),
            Storage::Image(image) => Some(wgpu::BindingResource::TextureView(image.texture().view())),
            Storage::Planned(_) => None,
        }
    }

    /// Whether both see the same elements.
    pub(crate) fn shares_storage(&self, other: &Tensor) -> bool {
        match (&self.storage, &other.storage) {
            (Storage::Buffer(a), Storage::Buffer(b)) => Arc::ptr_eq(a, b),
            (Storage::Image(a), Storage::Image(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

pub(crate) fn byte_len(shape: Shape, dtype: Dtype) -> u64 {
    (shape.elements() as u64 * dtype.bytes() as u64).next_multiple_of(4)
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({:?}{})", self.dtype, self.shape)
    }
}
