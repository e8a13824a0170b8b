//! What it costs to say which heads matter: the effect of silencing each, against that many whole forward passes, and the
//! ranking by Reversed Attention.

use crate::model::spread_ids;
use crate::row::round;
use crate::trace::precision_name;
use crate::{
    BenchError, Document, HeadFigures, ModelSource, Progress, Row, Samples, peak_rss_mb, reset_peak_rss,
};
use retrograd_formats::{Capture, Interventions, Objective, TokenId, TraceRead as _, TraceRequest};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::{ModelError, Precision, Replacement};
use std::time::Instant;

/// What `bench heads` is asked for.
#[derive(Clone, Debug)]
pub struct HeadsBench {
    /// The model.
    pub source: ModelSource,
    /// Tokens of the prompt.
    pub length: usize,
    /// Runs after the first.
    pub runs: usize,
    /// Element type of the matrices.
    pub precision: Precision,
}

impl HeadsBench {
    /// In turn: a forward pass to the logits after the last token, the ranking of all heads by ‖R‖ (one forward and one
    /// backward pass), and the effects of silencing every head.
    pub fn run(&self, options: &GpuOptions, progress: Progress<'_>) -> Result<Document, BenchError> {
        let config = self.source.config()?;
        self.source.check_length(&config, "--length", self.length)?;
        reset_peak_rss();
        progress("opening the adapter");
        let gpu = Gpu::open(options)?;
        let mut document = Document::new("heads", &gpu);
        let name = self.source.name();
        progress(&format!("loading {name}"));
        let model = self.source.load(&gpu, self.precision)?;
        let ids = spread_ids(&config, self.length);
        let target = Objective::Target(TokenId((config.vocab_size / 2) as u32));
        let ranking = TraceRequest::new(ids.clone(), target).capture(Capture::none().head_norms());
        let mut effects = model.head_effects(1, self.length, Replacement::Zero)?;
        let unchanged = Interventions::default();
        let mut times: [Vec<f64>; 3] = Default::default();
        for run in 0..=self.runs {
            progress(&format!("{name}: {} tokens, run {run} of {}", self.length, self.runs));
            let mut clock = |which: usize, work: &mut dyn FnMut() -> Result<(), ModelError>| {
                let start = Instant::now();
                work()?;
                // The first run compiles.
                if run > 0 {
                    times[which].push(start.elapsed().as_secs_f64() * 1e3);
                }
                Ok::<(), ModelError>(())
            };
            for _ in 0..FORWARDS {
                clock(0, &mut || model.logits(&ids, &unchanged).map(drop))?;
            }
            clock(1, &mut || {
                let trace = model.trace(&ranking)?;
                trace.head_norms()?;
                Ok(())
            })?;
            clock(2, &mut || effects.run(std::slice::from_ref(&ids), None, |_, _, _| ()))?;
        }
        let [forward, ranking, effects] = times.map(Samples::alike);
        let passes = 1 + config.n_layer * config.n_head;
        let whole = passes as f64 * forward.median();
        for (what, samples) in
            [("forward", &forward), ("rank by ‖R‖", &ranking), ("silence every head", &effects)]
        {
            let mut row = Row::new(what, name.as_str(), self.length, samples);
            row.precision = precision_name(self.precision);
            row.peak_rss_mb = peak_rss_mb().map(round);
            row.heads = Some(HeadFigures {
                forward_passes: passes,
                times_cheaper: round(whole / samples.median().max(1e-9)),
            });
            document.rows.push(row);
        }
        document.notes.push(format!(
            "times cheaper: than {passes} whole forward passes, one for each head and one for none"
        ));
        Ok(document)
    }
}

/// Forward passes to each of the others.
const FORWARDS: usize = 5;
