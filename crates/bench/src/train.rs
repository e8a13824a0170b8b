//! Training steps: forward, backward, every weight gradient, clipping, AdamW.

use crate::breakdown::by_kernel;
use crate::model::spread_ids;
use crate::row::round;
use crate::{
    BenchError, Document, ModelSource, Progress, Row, Samples, TrainFigures, peak_rss_mb, reset_peak_rss,
};
use retrograd_formats::RequestError;
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::train::{Dataset, TrainOptions, Trainer};
use std::time::Instant;

/// What `bench train` is asked for.
#[derive(Clone, Debug)]
pub struct TrainBench {
    /// The model.
    pub source: ModelSource,
    /// Sequences a step.
    pub batch: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Steps after the first.
    pub runs: usize,
    /// Time the kernels too, where the adapter can.
    pub breakdown: bool,
}

impl TrainBench {
    /// Steps on tokens that say nothing: their time does not depend on it.
    pub fn run(&self, options: &GpuOptions, progress: Progress<'_>) -> Result<Document, BenchError> {
        let config = self.source.config()?;
        self.source.check_length(&config, "--length", self.length)?;
        if self.batch == 0 {
            return Err(RequestError::invalid("--batch", "is 0: give at least one sequence").into());
        }
        reset_peak_rss();
        progress("opening the adapter");
        let gpu = Gpu::open(options)?;
        let mut document = Document::new("train", &gpu);
        let name = self.source.name();
        progress(&format!("loading {name}"));
        let tokens = spread_ids(&config, 4 * self.batch * self.length + 1);
        let dataset = Dataset::from_ids(tokens.into_iter().map(|id| id.0).collect());
        let training = TrainOptions {
            steps: self.runs as u64 + 1,
            warmup: 0,
            batch: self.batch,
            context: self.length,
            lr: 1e-4,
            ..TrainOptions::default()
        };
        let mut trainer = match &self.source {
            ModelSource::Directory(dir) => Trainer::from_weights(&gpu, dir, dataset, training)?,
            ModelSource::Random { config, .. } => Trainer::from_config(&gpu, config, dataset, training)?,
        };
        let mut times = Vec::with_capacity(self.runs + 1);
        for run in 0..=self.runs {
            progress(&format!(
                "{name}: {} × {} tokens, step {run} of {}",
                self.batch, self.length, self.runs
            ));
            let start = Instant::now();
            trainer.step()?;
            times.push(start.elapsed());
        }
        let kernels = if self.breakdown { trainer.kernel_times()? } else { None };
        if self.breakdown && kernels.is_none() {
            document.notes.push("no times by kernel: they need timestamps".to_owned());
        }
        let samples = Samples::after_first(&times);
        let mut row = Row::new("train", name, self.length, &samples);
        row.peak_rss_mb = peak_rss_mb().map(round);
        let seconds = samples.median() / 1e3;
        row.train = Some(TrainFigures {
            batch: self.batch,
            tokens_per_s: round(if seconds > 0.0 {
                (self.batch * self.length) as f64 / seconds
            } else {
                0.0
            }),
            breakdown: kernels.as_deref().map(by_kernel),
        });
        document.rows.push(row);
        Ok(document)
    }
}
