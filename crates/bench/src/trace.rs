//! A whole trace: forward and backward pass, every R and every factor left on the device.

use crate::breakdown::{by_kernel, gemm_and_all_ns};
use crate::chrome::ChromeTrace;
use crate::model::spread_ids;
use crate::row::round;
use crate::{
    BenchError, Document, ModelSource, Progress, Row, Samples, TraceFigures, flops, peak_rss_mb,
    reset_peak_rss,
};
use retrograd_formats::{Config, Objective, TokenId, TraceRequest};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::Precision;
use std::time::Instant;

/// What `bench trace` is asked for.
#[derive(Clone, Debug)]
pub struct TraceBench {
    /// The model.
    pub source: ModelSource,
    /// Numbers of tokens.
    pub lengths: Vec<usize>,
    /// Sequences in a pass, each of them measured with each length; 1 is a trace as `trace` makes it.
    pub batches: Vec<usize>,
    /// Runs after the first.
    pub runs: usize,
    /// Element type of the matrices.
    pub precision: Precision,
    /// Time the kernels too, where the adapter can.
    pub breakdown: bool,
}

impl TraceBench {
    /// Measures each length and each batch on a device of its own, so that none finds another's memory. The loss is on
    /// the last position.
    pub fn run(
        &self,
        options: &GpuOptions,
        mut chrome: Option<&mut ChromeTrace>,
        progress: Progress<'_>,
    ) -> Result<Document, BenchError> {
        let config = self.source.config()?;
        for &length in &self.lengths {
            self.source.check_length(&config, "--length", length)?;
        }
        if self.batches.contains(&0) {
            return Err(retrograd_formats::RequestError::invalid("--batch", "is 0; give at least 1").into());
        }
        let mut document: Option<Document> = None;
        let each =
            self.lengths.iter().flat_map(|&length| self.batches.iter().map(move |&batch| (length, batch)));
        for (length, batch) in each {
            reset_peak_rss();
            progress("opening the adapter");
            let gpu = Gpu::open(options)?;
            let row = self.row(&gpu, &config, (length, batch), chrome.as_deref_mut(), progress)?;
            let document = document.get_or_insert_with(|| self.document(&gpu, chrome.is_some()));
            document.rows.push(row);
        }
        match document {
            Some(document) => Ok(document),
            None => Err(retrograd_formats::RequestError::invalid("--length, --batch", "name nothing").into()),
        }
    }

    fn document(&self, gpu: &Gpu, chrome: bool) -> Document {
        let mut document = Document::new("trace", gpu);
        if !document.timestamps && self.breakdown {
            document.notes.push("no times by kernel: they need timestamps".to_owned());
        }
        if self.breakdown && self.batches.iter().any(|&batch| batch > 1) {
            document.notes.push("no times by kernel for batches".to_owned());
        }
        if !document.timestamps && chrome {
            document.notes.push("the time line shows the host alone: kernels need timestamps".to_owned());
        }
        document
    }

    fn row(
        &self,
        gpu: &Gpu,
        config: &Config,
        (length, batch): (usize, usize),
        mut chrome: Option<&mut ChromeTrace>,
        progress: Progress<'_>,
    ) -> Result<Row, BenchError> {
        let name = self.source.name();
        progress(&format!("loading {name}"));
        let start = Instant::now();
        let model = self.source.load(gpu, self.precision)?;
        gpu.wait()?;
        let load = start.elapsed();
        if let Some(chrome) = chrome.as_deref_mut() {
            chrome.host("load", start, load);
        }

        let target = TokenId((11 % config.vocab_size) as u32);
        let request = TraceRequest::new(spread_ids(config, length), Objective::Target(target));
        let mut times = Vec::with_capacity(self.runs + 1);
        let (mut dispatches, mut kernels) = (0, None);
        for run in 0..=self.runs {
            progress(&format!("{name}: {batch} × {length} tokens, run {run} of {}", self.runs));
            let start = Instant::now();
            let alone = if batch == 1 { Some(model.trace(&request)?) } else { None };
            let together =
                if batch > 1 { Some(model.trace_batch(&vec![request.clone(); batch])?) } else { None };
            gpu.wait()?;
            let time = start.elapsed();
            times.push(time);
            dispatches = match (&alone, &together) {
                (Some(trace), _) => trace.dispatches(),
                (_, Some(traces)) => traces.dispatches(),
                _ => 0,
            };
            if let Some(chrome) = chrome.as_deref_mut() {
                chrome.host(if run == 0 { "first trace" } else { "trace" }, start, time);
            }
            if run == self.runs
                && (self.breakdown || chrome.is_some())
                && let Some(trace) = &alone
            {
                let start = Instant::now();
                kernels = trace.kernel_times()?;
                if let (Some(chrome), Some(times)) = (chrome.as_deref_mut(), &kernels) {
                    chrome.host("trace with a clock on every kernel", start, start.elapsed());
                    chrome.kernels(start, times);
                }
            }
        }
        let samples = Samples::after_first(&times);
        let operations = flops::trace(config, length, length - 1, 1) as f64 * batch as f64;
        let mut figures = TraceFigures {
            batch,
            sequences_per_s: round(batch as f64 / (samples.median() / 1e3).max(1e-9)),
            dispatches,
            gemm_gflop: round(operations / 1e9),
            gflops: round(per_second(operations, samples.median() / 1e3)),
            load_ms: round(load.as_secs_f64() * 1e3),
            device_mb: round(gpu.arena_stats().bytes_held as f64 / f64::from(1u32 << 20)),
            gemm_time_share: None,
            gemm_gflops: None,
            breakdown: None,
        };
        if let Some(times) = &kernels {
            let (gemm, all) = gemm_and_all_ns(times);
            figures.gemm_time_share = Some(round(if all > 0.0 { gemm / all } else { 0.0 }));
            figures.gemm_gflops = Some(round(per_second(operations, gemm / 1e9)));
            figures.breakdown = self.breakdown.then(|| by_kernel(times));
        }
        let mut row = Row::new("trace", name, length, &samples);
        row.precision = precision_name(self.precision);
        row.peak_rss_mb = peak_rss_mb().map(round);
        row.trace = Some(figures);
        Ok(row)
    }
}

/// 10⁹ a second.
fn per_second(operations: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { operations / seconds / 1e9 } else { 0.0 }
}

pub(crate) fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
    }
}
