//! The document that every measurement ends in.

use crate::breakdown::KernelSum;
use crate::{Samples, Timer};
use retrograd_gpu::Gpu;
use serde::Serialize;

/// What `bench --json` prints: `retrograd-bench/1`.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    schema: &'static str,
    version: &'static str,
    /// What was measured: `kernels`, `trace`, …
    pub command: String,
    /// The adapter's name.
    pub adapter: String,
    /// Its driver.
    pub driver: String,
    /// The GEMM variant in use.
    pub gemm: String,
    /// Whether kernels were compiled with the driver-side checks.
    pub checked: bool,
    /// Whether the adapter can time kernels.
    pub timestamps: bool,
    /// Bandwidth of a copy on the device in this run, read and written bytes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_gb_per_s: Option<f64>,
    /// The best GEMM rate found in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_gemm_gflops: Option<f64>,
    /// What the reader should know.
    pub notes: Vec<String>,
    /// The measurements.
    pub rows: Vec<Row>,
}

impl Document {
    /// Without rows yet.
    pub fn new(command: &str, gpu: &Gpu) -> Self {
        let adapter = gpu.adapter();
        let timestamps = gpu.capabilities().timestamps;
        let mut notes = Vec::new();
        if timestamps && adapter.is_software() {
            notes.push(
                "a software adapter: times are the host's; those by kernel have a submission each in them"
                    .to_owned(),
            );
        }
        if !timestamps {
            notes.push(
                "the adapter has no timestamps: times are the host's, with the submission in them".to_owned(),
            );
        }
        Document {
            schema: "retrograd-bench/1",
            version: env!("CARGO_PKG_VERSION"),
            command: command.to_owned(),
            adapter: adapter.name.clone(),
            driver: format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned(),
            gemm: gpu.gemm_variant().to_string(),
            checked: gpu.checked(),
            timestamps,
            copy_gb_per_s: None,
            best_gemm_gflops: None,
            notes,
            rows: Vec::new(),
        }
    }
}

/// One measurement. What only some have is left out where it does not apply.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `trace`, `generate`, `train`, `start`, or a kernel as in `gemm/subgroup/NN/f32`.
    pub name: String,
    /// The model, or the shape whose sizes it has.
    pub model: String,
    /// Tokens (T).
    pub length: usize,
    /// Element type of the matrices.
    pub precision: &'static str,
    /// The first run, which compiles and allocates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_ms: Option<f64>,
    /// The middle run.
    pub median_ms: f64,
    /// The fastest run.
    pub min_ms: f64,
    /// Runs behind median and minimum.
    pub runs: usize,
    /// Whose clock.
    pub timer: Timer,
    /// Largest resident set of the process while this was measured, in MiB; null where unknown.
    pub peak_rss_mb: Option<f64>,
    /// Of a kernel.
    #[serde(flatten)]
    pub kernel: Option<KernelFigures>,
    /// Of a trace.
    #[serde(flatten)]
    pub trace: Option<TraceFigures>,
    /// Of a generation.
    #[serde(flatten)]
    pub generate: Option<GenerateFigures>,
    /// Of a choice of heads.
    #[serde(flatten)]
    pub heads: Option<HeadFigures>,
    /// Of a training.
    #[serde(flatten)]
    pub train: Option<TrainFigures>,
    /// Of a process.
    #[serde(flatten)]
    pub start: Option<StartFigures>,
    /// Of a choice of kernels.
    #[serde(flatten)]
    pub tune: Option<TuneFigures>,
}

impl Row {
    /// With times, and without any figures of its own yet.
    pub fn new(name: impl Into<String>, model: impl Into<String>, length: usize, samples: &Samples) -> Self {
        Row {
            name: name.into(),
            model: model.into(),
            length,
            precision: "f32",
            first_ms: samples.first().map(round),
            median_ms: round(samples.median()),
            min_ms: round(samples.min()),
            runs: samples.runs(),
            timer: Timer::Host,
            peak_rss_mb: None,
            kernel: None,
            trace: None,
            generate: None,
            heads: None,
            train: None,
            start: None,
            tune: None,
        }
    }
}

/// Figures of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct KernelFigures {
    /// Where it occurs.
    pub site: String,
    /// Its extents.
    pub shape: String,
    /// Floating-point operations a second, in 10⁹.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gflops: Option<f64>,
    /// Bytes that it must read and write at least, a second, in 10⁹.
    pub gb_per_s: f64,
    /// Share of the best GEMM rate of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gemm_share: Option<f64>,
    /// Share of the copy bandwidth of this run.
    pub copy_share: f64,
    /// Largest error against f64, relative to the largest value.
    pub error: f64,
    /// What rounding may leave.
    pub bound: f64,
}

/// Figures of a trace.
#[derive(Clone, Debug, Serialize)]
pub struct TraceFigures {
    /// Sequences in a pass.
    pub batch: usize,
    /// Sequences traced in a second.
    pub sequences_per_s: f64,
    /// Kernel dispatches.
    pub dispatches: usize,
    /// Floating-point operations of the GEMMs, in 10⁹.
    pub gemm_gflop: f64,
    /// That many a second over the whole trace, in 10⁹.
    pub gflops: f64,
    /// Time to load the model.
    pub load_ms: f64,
    /// Bytes that the device holds, in MiB.
    pub device_mb: f64,
    /// Share of the kernels' time that is spent in GEMMs; absent without timestamps or `--breakdown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gemm_time_share: Option<f64>,
    /// Rate of the GEMMs while they run, in 10⁹ a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gemm_gflops: Option<f64>,
    /// Time by kernel, the longest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breakdown: Option<Vec<KernelSum>>,
}

/// Figures of a generation.
#[derive(Clone, Debug, Serialize)]
pub struct GenerateFigures {
    /// Tokens generated in a run.
    pub tokens: usize,
    /// From the request to the first token.
    pub prefill_ms: f64,
    /// 1000 over the median time between two tokens.
    pub tokens_per_s: f64,
}

/// Figures of what ranks heads.
#[derive(Clone, Debug, Serialize)]
pub struct HeadFigures {
    /// Forward passes that it is compared with: one for each head and one for none.
    pub forward_passes: usize,
    /// Their time by this row's.
    pub times_cheaper: f64,
}

/// Figures of a training.
#[derive(Clone, Debug, Serialize)]
pub struct TrainFigures {
    /// Sequences a step.
    pub batch: usize,
    /// At the median step.
    pub tokens_per_s: f64,
    /// Time by kernel of the forward and backward pass, the longest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breakdown: Option<Vec<KernelSum>>,
}

/// Figures of a process.
#[derive(Clone, Debug, Serialize)]
pub struct StartFigures {
    /// Whether the driver found its compiled shaders on disk: `warm` or `cold`.
    pub cache: &'static str,
}

/// Figures of a GEMM variant.
#[derive(Clone, Debug, Serialize)]
pub struct TuneFigures {
    /// Its rate over the products of one trace, in 10⁹ operations a second.
    pub gflops: f64,
    /// Whether it was chosen.
    pub chosen: bool,
}

/// Milliseconds to the microsecond, below one to four digits: what a clock can say.
pub(crate) fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 4 - value.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits.clamp(0, 9));
    (value * scale).round() / scale
}
