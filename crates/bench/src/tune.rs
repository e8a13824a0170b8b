//! Which GEMM variant is fastest on an adapter.

use crate::cache::Choice;
use crate::clock::{self, Effort};
use crate::kernels::{self, Case};
use crate::row::round;
use crate::{BenchError, Document, ModelSource, NamedShape, Progress, Row, Samples, TuneFigures};
use retrograd_gpu::ops::GemmVariant;
use retrograd_gpu::{Gpu, GpuOptions};
use std::collections::BTreeMap;

/// What tuning found.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// One row a variant.
    pub document: Document,
    /// What to [`store`](crate::cache::store).
    pub choice: Choice,
    /// What would have been used without: an earlier choice, or the table's.
    pub before: GemmVariant,
}

/// The products of one block of a trace, forward and backward: a trace is little else.
fn products(model: NamedShape, length: usize) -> Vec<Case> {
    let mut cases = kernels::cases(model, length);
    cases.retain(|case| {
        ["gemm/NN/f32", "gemm/NT/f32"].contains(&case.kernel.as_str())
            && (case.site.starts_with("attn.") || case.site.starts_with("mlp."))
            && !case.site.contains("one token")
    });
    cases
}

/// Checks and times every variant that the adapter can run, over the linear layers of a model of this shape. A variant
/// that computes something wrong is told of and never chosen.
pub fn run(
    options: &GpuOptions,
    model: NamedShape,
    length: usize,
    effort: Effort,
    progress: Progress<'_>,
) -> Result<Tuned, BenchError> {
    ModelSource::from(model).check_length(&model.config(), "--length", length)?;
    let cases = products(model, length);
    progress("opening the adapter");
    let gpu = Gpu::open(options)?;
    let mut document = Document::new("tune", &gpu);
    let (mut best, mut rates): (Option<(f64, GemmVariant)>, _) = (None, BTreeMap::new());
    let mut failure = None;
    for variant in GemmVariant::ALL.into_iter().filter(|&variant| gpu.capabilities().runs(variant)) {
        let device = Gpu::open(&GpuOptions { gemm: Some(variant), ..options.clone() })?;
        match measure(&device, &cases, effort, progress) {
            Ok((ms, runs, timer)) => {
                let operations: u64 = cases.iter().filter_map(|case| case.flops).sum();
                let gflops = round(operations as f64 / (ms / 1e3) / 1e9);
                rates.insert(variant.to_string(), gflops);
                if best.is_none_or(|(least, _)| ms < least) {
                    best = Some((ms, variant));
                }
                let mut row =
                    Row::new(format!("tune/{variant}"), model.name(), length, &Samples::alike(vec![ms]));
                row.runs = runs;
                row.timer = timer;
                row.tune = Some(TuneFigures { gflops, chosen: false });
                document.rows.push(row);
            }
            Err(error @ BenchError::WrongResult { .. }) => {
                document.notes.push(format!("gemm/{variant} is left out: {error}"));
                failure = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    let Some((_, chosen)) = best else {
        return Err(failure.unwrap_or_else(|| {
            retrograd_formats::RequestError::invalid("tune", "the adapter can run no GEMM variant").into()
        }));
    };
    for row in &mut document.rows {
        if let Some(figures) = row.tune.as_mut() {
            figures.chosen = row.name == format!("tune/{chosen}");
        }
    }
    document.gemm = chosen.to_string();
    let choice = Choice::new(gpu.adapter(), chosen, rates);
    Ok(Tuned { document, choice, before: gpu.gemm_variant() })
}

/// Milliseconds of all products, the fewest runs behind any, and whose clock.
fn measure(
    gpu: &Gpu,
    cases: &[Case],
    effort: Effort,
    progress: Progress<'_>,
) -> Result<(f64, usize, crate::Timer), BenchError> {
    let (mut ms, mut runs, mut timer) = (0.0, usize::MAX, crate::Timer::Device);
    for case in cases {
        progress(&format!("{}  {} ({})", case.name(gpu), case.shape, case.site));
        let prepared = case.prepare(gpu)?;
        let (samples, by) = clock::time(gpu, &prepared.pass, effort)?;
        ms += samples.median();
        runs = runs.min(samples.runs());
        timer = by;
    }
    Ok((ms, runs, timer))
}
