//! From the device to the host: any number of tensors through one staging buffer.

use crate::tensor::{Dtype, Tensor};
use crate::{Gpu, GpuError, Recorder, ops};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Elements read from a device; f16 tensors arrive as f32.
#[derive(Clone, Debug, PartialEq)]
pub enum HostData {
    /// Floats.
    F32(Vec<f32>),
    /// Unsigned integers.
    U32(Vec<u32>),
}

impl HostData {
    /// The floats; none where it holds integers.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            HostData::F32(values) => values,
            HostData::U32(_) => Vec::new(),
        }
    }
}

/// Largest staging buffer. Larger requests are read in rounds, so that reading a trace never
/// doubles the memory it needs.
const STAGING_BYTES: u64 = 64 << 20;
const READING: &str = "reading from it";

/// A stretch of a buffer and where it goes.
struct Piece<'a> {
    buffer: &'a wgpu::Buffer,
    offset: u64,
    bytes: u64,
    tensor: usize,
}

impl Gpu {
    /// Reads an f32 (or f16) tensor.
    pub fn read(&self, tensor: &Tensor) -> Result<Vec<f32>, GpuError> {
        match self.read_many(&[tensor])?.pop() {
            Some(HostData::F32(values)) => Ok(values),
            _ => Err(GpuError::Dtype { op: "read", operand: "tensor", expected: "f32 or f16" }),
        }
    }

    /// Reads several tensors with as few round trips as their size allows.
    pub fn read_many(&self, tensors: &[&Tensor]) -> Result<Vec<HostData>, GpuError> {
        if tensors.iter().any(|tensor| tensor.is_planned()) {
            let expected = "a tensor with memory; this one belongs to an estimate";
            return Err(GpuError::Layout { op: "read", operand: "tensor", expected });
        }
        let buffers: Vec<Tensor> =
            tensors.iter().map(|tensor| self.in_buffer(tensor)).collect::<Result<_, _>>()?;
        let tensors = &buffers;
        let mut raw: Vec<Vec<u8>> =
            tensors.iter().map(|tensor| Vec::with_capacity(tensor.byte_len() as usize)).collect();
        let mut round: Vec<Piece<'_>> = Vec::new();
        let mut used = 0;
        for (index, tensor) in tensors.iter().enumerate() {
            let mut offset = 0;
            while offset < tensor.byte_len() {
                if used == STAGING_BYTES {
                    self.read_round(&round, &mut raw)?;
                    round.clear();
                    used = 0;
                }
                let bytes = (tensor.byte_len() - offset).min(STAGING_BYTES - used);
                if let Some(buffer) = tensor.buffer() {
                    round.push(Piece { buffer, offset, bytes, tensor: index });
                }
                offset += bytes;
                used += bytes;
            }
        }
        self.read_round(&round, &mut raw)?;
        Ok(raw.into_iter().zip(tensors).map(|(bytes, tensor)| decode(&bytes, tensor)).collect())
    }

    /// The tensor itself, or its elements in a buffer where it is an image.
    fn in_buffer(&self, tensor: &Tensor) -> Result<Tensor, GpuError> {
        if !tensor.is_image() {
            return Ok(tensor.clone());
        }
        let out = self.tensor(tensor.shape())?;
        let mut recorder = Recorder::new(self);
        ops::unpack(&mut recorder, ops::Unpack { image: tensor, first_row: 0, out: &out })?;
        self.run(&recorder.finish()?)?;
        Ok(out)
    }

    /// Reads the start of a buffer that is no tensor.
    pub(crate) fn read_bytes(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, GpuError> {
        let mut raw = [Vec::new()];
        self.read_round(&[Piece { buffer, offset: 0, bytes, tensor: 0 }], &mut raw)?;
        let [bytes] = raw;
        Ok(bytes)
    }

    fn read_round(&self, pieces: &[Piece<'_>], raw: &mut [Vec<u8>]) -> Result<(), GpuError> {
        let total: u64 = pieces.iter().map(|piece| piece.bytes).sum();
        if total == 0 {
            return self.wait();
        }
        self.healthy(READING)?;
        let device = &self.0.device;
        // Held for the whole round: a second thread waits for its turn.
        let mut staging = self.0.staging.lock().unwrap_or_else(|e| e.into_inner());
        if staging.as_ref().is_none_or(|buffer| buffer.size() < total) {
            let bytes = total.next_power_of_two().min(total.max(STAGING_BYTES));
            // The old one first, so that there are never two.
            staging.take();
            *staging = Some(self.create("room for reading", bytes, |device| {
                device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("readback"),
                    size: bytes,
                    usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
                    mapped_at_creation: false,
                })
            })?);
        }
        let Some(buffer) = staging.as_ref() else { return Ok(()) };
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut at = 0;
        for piece in pieces {
            encoder.copy_buffer_to_buffer(piece.buffer, piece.offset, buffer, at, Some(piece.bytes));
            at += piece.bytes;
        }
        self.submit(encoder, READING)?;
        let slice = buffer.slice(..total);
        let (sender, receiver) = std::sync::mpsc::channel();
        slice.map_async(wgpu::MapMode::Read, move |result| {
            // The receiver is gone only when this function has already failed.
            let _ = sender.send(result);
        });
        let mapped = self.mapped(&receiver);
        if mapped.is_err() {
            // It may still become mapped: the next round takes another.
            staging.take();
            return mapped;
        }
        {
            let mapped = slice.get_mapped_range().map_err(|error| self.failed(READING, error))?;
            let mut at = 0;
            for piece in pieces {
                let end = at + piece.bytes as usize;
                raw[piece.tensor].extend_from_slice(&mapped[at..end]);
                at = end;
            }
        }
        buffer.unmap();
        Ok(())
    }
}

/// How long a mapping may take after the device has finished its work: another thread's poll may be the one
/// that reports it, a moment later.
const MAPPING_TIMEOUT: Duration = Duration::from_secs(60);

impl Gpu {
    /// Waits until a mapping is reported, by this thread's poll or by another's.
    fn mapped(&self, receiver: &Receiver<Result<(), wgpu::BufferAsyncError>>) -> Result<(), GpuError> {
        let started = Instant::now();
        loop {
            self.poll(READING)?;
            match receiver.recv_timeout(Duration::from_millis(1)) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => return Err(self.failed(READING, error)),
                Err(RecvTimeoutError::Timeout) if started.elapsed() < MAPPING_TIMEOUT => {}
                Err(_) => return Err(self.failed(READING, "it did not finish")),
            }
        }
    }
}

fn decode(bytes: &[u8], tensor: &Tensor) -> HostData {
    match tensor.dtype() {
        Dtype::F32 => HostData::F32(bytemuck::pod_collect_to_vec(bytes)),
        Dtype::U32 => HostData::U32(bytemuck::pod_collect_to_vec(bytes)),
        Dtype::F16 => {
            let bits: Vec<u16> = bytemuck::pod_collect_to_vec(bytes);
            HostData::F32(bits[..tensor.len()].iter().map(|&b| half::f16::from_bits(b).to_f32()).collect())
        }
    }
}
