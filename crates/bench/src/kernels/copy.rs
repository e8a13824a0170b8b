//! How fast the device copies: what any kernel that only moves data can hope for.

use crate::BenchError;
use crate::clock::{Effort, by_host};
use retrograd_gpu::{Gpu, Recorder};

/// Elements of a copy: 64 MiB, beyond every cache, within every binding.
const ELEMENTS: usize = 16 << 20;

/// Read and written bytes together, in 10⁹ a second.
pub fn copy_bandwidth(gpu: &Gpu) -> Result<f64, BenchError> {
    let from = gpu.tensor([ELEMENTS])?;
    let to = gpu.tensor([ELEMENTS])?;
    let mut recorder = Recorder::new(gpu);
    recorder.clear(&from);
    gpu.run(&recorder.finish()?)?;
    let mut recorder = Recorder::new(gpu);
    recorder.copy(&from, 0, &to, 0, ELEMENTS)?;
    let pass = recorder.finish()?;
    // The first touches the pages.
    gpu.run(&pass)?;
    gpu.wait()?;
    let samples = by_host(gpu, &pass, Effort::FULL)?;
    Ok(2.0 * 4.0 * ELEMENTS as f64 / (samples.min() / 1e3) / 1e9)
}
