//! From the host to the device.

use crate::ops::{self, Matrix};
use crate::tensor::{Dtype, Shape, Tensor};
use crate::{Gpu, GpuError, Recorder};

/// Largest single piece handed to the queue at once while uploading: bounds the staging memory
/// that wgpu holds until the next poll.
pub(crate) const UPLOAD_PIECE: usize = 32 << 20;
const UPLOADING: &str = "writing to it";

impl Gpu {
    /// A new f32 tensor with these elements.
    pub fn upload(&self, shape: impl Into<Shape>, values: &[f32]) -> Result<Tensor, GpuError> {
        let tensor = self.tensor(shape)?;
        self.write(&tensor, values)?;
        Ok(tensor)
    }

    /// A new f16 tensor with these elements, given as bit patterns.
    pub fn upload_f16(&self, shape: impl Into<Shape>, bits: &[u16]) -> Result<Tensor, GpuError> {
        let tensor = self.allocate(shape.into(), Dtype::F16)?;
        self.write_f16(&tensor, bits)?;
        Ok(tensor)
    }

    /// A new u32 tensor with these elements.
    pub fn upload_u32(&self, shape: impl Into<Shape>, values: &[u32]) -> Result<Tensor, GpuError> {
        let tensor = self.allocate(shape.into(), Dtype::U32)?;
        self.write_u32(&tensor, values)?;
        Ok(tensor)
    }

    /// Replaces the elements of an f32 tensor.
    pub fn write(&self, tensor: &Tensor, values: &[f32]) -> Result<(), GpuError> {
        self.expect_elements(tensor, values.len(), Dtype::F32)?;
        self.write_bytes(tensor, bytemuck::cast_slice(values))
    }

    /// Replaces the elements of an f16 tensor, given as bit patterns.
    pub fn write_f16(&self, tensor: &Tensor, bits: &[u16]) -> Result<(), GpuError> {
        self.expect_elements(tensor, bits.len(), Dtype::F16)?;
        if bits.len().is_multiple_of(2) {
            self.write_bytes(tensor, bytemuck::cast_slice(bits))
        } else {
            // Whole words are written: an odd count gets a zero after its last element.
            let mut padded = bits.to_vec();
            padded.push(0);
            self.write_bytes(tensor, bytemuck::cast_slice(&padded))
        }
    }

    /// Replaces the elements of a u32 tensor.
    pub fn write_u32(&self, tensor: &Tensor, values: &[u32]) -> Result<(), GpuError> {
        self.expect_elements(tensor, values.len(), Dtype::U32)?;
        self.write_bytes(tensor, bytemuck::cast_slice(values))
    }

    fn expect_elements(&self, tensor: &Tensor, count: usize, dtype: Dtype) -> Result<(), GpuError> {
        if tensor.dtype() != dtype {
            return Err(GpuError::Dtype {
                op: "write",
                operand: "tensor",
                expected: "values and tensor must agree",
            });
        }
        if tensor.len() != count {
            return Err(GpuError::Shape {
                op: "write",
                operand: "tensor",
                found: tensor.shape(),
                expected: format!("as many elements as the {count} values"),
            });
        }
        Ok(())
    }

    fn write_bytes(&self, tensor: &Tensor, bytes: &[u8]) -> Result<(), GpuError> {
        if tensor.is_planned() {
            return Ok(());
        }
        let Some(buffer) = tensor.buffer() else { return self.write_image(tensor, bytes) };
        for (index, piece) in bytes.chunks(UPLOAD_PIECE).enumerate() {
            self.healthy(UPLOADING)?;
            self.0.queue.write_buffer(buffer, (index * UPLOAD_PIECE) as u64, piece);
            if bytes.len() > UPLOAD_PIECE {
                // Lets the driver free the staging copy of each piece.
                self.0.queue.submit([]);
                self.poll(UPLOADING)?;
            }
        }
        self.healthy(UPLOADING)
    }

    /// Through a buffer, some rows at a time.
    fn write_image(&self, image: &Tensor, bytes: &[u8]) -> Result<(), GpuError> {
        let (rows, columns) = (image.shape().rows(), image.shape().columns());
        let row_bytes = columns * image.dtype().bytes();
        // An even number of rows begins at a whole word, in f16 too.
        let most = (UPLOAD_PIECE / row_bytes.max(1)).max(2) / 2 * 2;
        for first_row in (0..rows).step_by(most) {
            let count = most.min(rows - first_row);
            let piece = self.allocate([count, columns].into(), image.dtype())?;
            let start = first_row * row_bytes;
            let end = (start + piece.byte_len() as usize).min(bytes.len());
            self.write_bytes(&piece, &bytes[start..end])?;
            let mut recorder = Recorder::new(self);
            ops::pack(&mut recorder, ops::Pack { source: Matrix::of(&piece), image, first_row })?;
            self.run(&recorder.finish()?)?;
            self.wait()?;
        }
        Ok(())
    }
}
