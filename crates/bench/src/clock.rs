//! Time of a recorded pass, by the device's clock where it has one.

use crate::{BenchError, Samples};
use retrograd_gpu::{Gpu, Pass};
use serde::Serialize;
use std::time::{Duration, Instant};

/// Whose clock measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Timer {
    /// Timestamps that the device wrote around each kernel.
    Device,
    /// The host's clock around submission and waiting.
    Host,
}

/// How often a pass is run.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs at most.
    pub runs: usize,
    /// No further run after this long, once there are three.
    pub budget: Duration,
}

impl Effort {
    /// For a table that many will read.
    pub const FULL: Effort = Effort { runs: 15, budget: Duration::from_millis(400) };
    /// For a look.
    pub const QUICK: Effort = Effort { runs: 5, budget: Duration::from_millis(100) };
}

/// Fewer runs have no median to speak of.
const LEAST_RUNS: usize = 3;
/// A sample of the host's clock lasts at least this long, so that waking up costs little of it.
const HOST_SAMPLE: Duration = Duration::from_millis(5);
/// Runs to a sample at most.
const MOST_REPEATS: u32 = 1000;

/// Times a pass that has run before. Milliseconds a run.
pub fn time(gpu: &Gpu, pass: &Pass, effort: Effort) -> Result<(Samples, Timer), BenchError> {
    // A software adapter's own clock is the host's, read after every dispatch: the whole pass at once is truer.
    if gpu.adapter().is_software() {
        return Ok((by_host(gpu, pass, effort)?, Timer::Host));
    }
    if let Some(samples) = by_device(gpu, pass, effort)? {
        return Ok((samples, Timer::Device));
    }
    Ok((by_host(gpu, pass, effort)?, Timer::Host))
}

/// `None` where the device has no clock, or one that stands still.
fn by_device(gpu: &Gpu, pass: &Pass, effort: Effort) -> Result<Option<Samples>, BenchError> {
    sampled(effort, || {
        let Some(times) = gpu.run_timed(pass)? else { return Ok(None) };
        let ns: f64 = times.iter().map(|time| time.duration_ns).sum();
        Ok((ns > 0.0).then_some(ns / 1e6))
    })
}

/// By the host's clock: several runs to a sample where one is short.
pub fn by_host(gpu: &Gpu, pass: &Pass, effort: Effort) -> Result<Samples, BenchError> {
    let once = run(gpu, pass, 1)?;
    let repeats = (HOST_SAMPLE.as_secs_f64() / once.as_secs_f64().max(1e-9)).ceil();
    let repeats = (repeats as u32).clamp(1, MOST_REPEATS);
    let samples = sampled(effort, || {
        let time = run(gpu, pass, repeats)?;
        Ok(Some(time.as_secs_f64() * 1e3 / f64::from(repeats)))
    })?;
    Ok(samples.unwrap_or_else(|| Samples::alike(vec![once.as_secs_f64() * 1e3])))
}

/// Nanoseconds of so many runs of a pass, by the device's clock where it has one of its own.
pub fn ns_of_runs(gpu: &Gpu, pass: &Pass, runs: u64) -> Result<f64, BenchError> {
    if gpu.adapter().is_software() || !gpu.capabilities().timestamps {
        let start = Instant::now();
        for _ in 0..runs {
            gpu.run(pass)?;
        }
        gpu.wait()?;
        return Ok(start.elapsed().as_nanos() as f64);
    }
    let mut ns = 0.0;
    for _ in 0..runs {
        ns += gpu.run_timed(pass)?.iter().flatten().map(|time| time.duration_ns).sum::<f64>();
    }
    Ok(ns)
}

fn run(gpu: &Gpu, pass: &Pass, repeats: u32) -> Result<Duration, BenchError> {
    let start = Instant::now();
    for _ in 0..repeats {
        gpu.run(pass)?;
    }
    gpu.wait()?;
    Ok(start.elapsed())
}

/// Takes samples until the effort is spent; `None` as soon as there is none to take.
fn sampled(
    effort: Effort,
    mut sample: impl FnMut() -> Result<Option<f64>, BenchError>,
) -> Result<Option<Samples>, BenchError> {
    let start = Instant::now();
    let mut times = Vec::with_capacity(effort.runs);
    while times.len() < effort.runs.max(1) {
        // A kernel far too slow for the budget is not made to run for a median's sake.
        let spent = start.elapsed();
        if spent > effort.budget && times.len() >= LEAST_RUNS
            || spent > 4 * effort.budget && !times.is_empty()
        {
            break;
        }
        match sample()? {
            Some(time) => times.push(time),
            None => return Ok(None),
        }
    }
    Ok(Some(Samples::alike(times)))
}
