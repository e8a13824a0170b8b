//! A dense tensor in host memory, row-major.

/// The elements of a [`HostTensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Everything but token ids.
    F32(Vec<f32>),
    /// Token ids.
    U32(Vec<u32>),
}

/// A dense, row-major tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Extent of each dimension, slowest first.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` elements.
    pub data: TensorData,
}

impl HostTensor {
    /// An f32 tensor. Panics in debug builds when `data` does not fill `shape`.
    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let shape = shape.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        HostTensor { shape, data: TensorData::F32(data) }
    }

    /// A u32 tensor. Panics in debug builds when `data` does not fill `shape`.
    pub fn u32(shape: impl Into<Vec<usize>>, data: Vec<u32>) -> Self {
        let shape = shape.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        HostTensor { shape, data: TensorData::U32(data) }
    }

    /// The f32 elements; empty for a tensor of token ids.
    pub fn as_f32(&self) -> &[f32] {
        match &self.data {
            TensorData::F32(values) => values,
            TensorData::U32(_) => &[],
        }
    }

    /// The u32 elements; empty for an f32 tensor.
    pub fn as_u32(&self) -> &[u32] {
        match &self.data {
            TensorData::U32(values) => values,
            TensorData::F32(_) => &[],
        }
    }

    /// Frobenius norm of an f32 tensor, accumulated in f64.
    pub fn norm(&self) -> f64 {
        self.as_f32().iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
    }
}
