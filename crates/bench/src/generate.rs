//! Generation with the cache of keys and values: the time from token to token.

use crate::model::spread_ids;
use crate::row::round;
use crate::trace::precision_name;
use crate::{
    BenchError, Document, GenerateFigures, ModelSource, Progress, Row, Samples, peak_rss_mb, reset_peak_rss,
};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::{GenerateOptions, Precision};
use std::ops::ControlFlow;
use std::time::Instant;

/// What `bench generate` is asked for.
#[derive(Clone, Debug)]
pub struct GenerateBench {
    /// The model.
    pub source: ModelSource,
    /// Tokens of the prompt.
    pub length: usize,
    /// Tokens to generate.
    pub tokens: usize,
    /// Runs after the first.
    pub runs: usize,
    /// Element type of the matrices.
    pub precision: Precision,
}

impl GenerateBench {
    /// Greedy generation. A row's times are those between two tokens.
    pub fn run(&self, options: &GpuOptions, progress: Progress<'_>) -> Result<Document, BenchError> {
        let config = self.source.config()?;
        self.source.check_length(&config, "--length", self.length)?;
        // The last token is drawn, not fed in.
        self.source.check_length(
            &config,
            "--length plus --tokens",
            self.length + self.tokens.saturating_sub(1),
        )?;
        reset_peak_rss();
        progress("opening the adapter");
        let gpu = Gpu::open(options)?;
        let mut document = Document::new("generate", &gpu);
        let name = self.source.name();
        progress(&format!("loading {name}"));
        let model = self.source.load(&gpu, self.precision)?;
        let prompt = spread_ids(&config, self.length);
        let options = GenerateOptions { max_new_tokens: self.tokens, ..GenerateOptions::default() };
        let (mut prefills, mut steps) = (Vec::new(), Vec::new());
        for run in 0..=self.runs {
            progress(&format!(
                "{name}: {} tokens after {}, run {run} of {}",
                self.tokens, self.length, self.runs
            ));
            let start = Instant::now();
            let mut moments = Vec::with_capacity(self.tokens);
            model.generate(&prompt, &options, |_| {
                moments.push(start.elapsed().as_secs_f64() * 1e3);
                ControlFlow::Continue(())
            })?;
            // The first run compiles.
            if run > 0 {
                prefills.extend(moments.first());
                steps.extend(moments.windows(2).map(|pair| pair[1] - pair[0]));
            }
        }
        let samples = Samples::alike(steps);
        let mut row = Row::new("generate", name, self.length, &samples);
        row.precision = precision_name(self.precision);
        row.peak_rss_mb = peak_rss_mb().map(round);
        row.generate = Some(GenerateFigures {
            tokens: self.tokens,
            prefill_ms: round(Samples::alike(prefills).median()),
            tokens_per_s: round(if samples.median() > 0.0 { 1e3 / samples.median() } else { 0.0 }),
        });
        document.rows.push(row);
        Ok(document)
    }
}
