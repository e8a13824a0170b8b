//! The same numbers on every machine.

use retrograd_gpu::{Gpu, GpuError, Tensor};

/// A small generator (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    /// Starts a sequence.
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Uniform bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// 1 or −1.
    pub(crate) fn sign(&mut self) -> f64 {
        if self.bits() >> 63 == 0 { 1.0 } else { -1.0 }
    }

    /// Uniform in [−1, 1).
    pub(crate) fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `count` values uniform in [−1, 1).
    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// The same, on the device too.
    pub(crate) fn tensor<const N: usize>(
        &mut self,
        gpu: &Gpu,
        dims: [usize; N],
    ) -> Result<(Vec<f32>, Tensor), GpuError> {
        let values = self.values(dims.iter().product());
        let tensor = gpu.upload(dims, &values)?;
        Ok((values, tensor))
    }
}

/// f32 → f64.
pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// f32 → f16 → bits, and what they stand for.
pub(crate) fn to_f16(values: &[f32]) -> (Vec<u16>, Vec<f32>) {
    values.iter().map(|&v| half::f16::from_f32(v)).map(|v| (v.to_bits(), v.to_f32())).unzip()
}
