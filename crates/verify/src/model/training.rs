//! The gradients of a training step against the oracle's.

use super::differences::kind;
use super::subject::Subject;
use crate::report::{Finding, Report, Section};
use crate::rounding::{DEVIATIONS, Rounding};
use retrograd_formats::TokenId;
use retrograd_gpu::Gpu;
use retrograd_model::ModelError;
use retrograd_model::train::{Dataset, Order, TrainOptions, Trainer};

/// Sequences, and tokens of each.
const BATCH: (usize, usize) = (2, 11);

/// Trains one step, twice from the start, and compares.
pub(super) fn compare(gpu: &Gpu, subject: &Subject, report: &mut Report) -> Result<(), ModelError> {
    let (batch, context) = BATCH;
    let vocabulary = subject.oracle.config().vocab_size as u32;
    let text: Vec<u32> = (0..(batch * context + 1) as u32).map(|i| i * i * 7 % 31 % vocabulary).collect();
    let step = || -> Result<_, ModelError> {
        let options = TrainOptions {
            steps: 1,
            batch,
            context,
            warmup: 0,
            order: Order::Sequential,
            ..TrainOptions::default()
        };
        let data = Dataset::from_ids(text.clone());
        let mut trainer = Trainer::from_weights(gpu, &subject.dir, data, options)?;
        match trainer.step() {
            // It refuses a gradient that is NaN; the comparison says of which parameter.
            Ok(_) | Err(ModelError::Request(_)) => {}
            Err(error) => return Err(error),
        }
        Ok((trainer.gradients()?, trainer.weights()?))
    };
    let (gradients, weights) = step()?;
    let sequences: Vec<(Vec<TokenId>, Vec<TokenId>)> = (0..batch)
        .map(|row| {
            let ids = |from: usize| text[from..from + context].iter().copied().map(TokenId).collect();
            (ids(row * context), ids(row * context + 1))
        })
        .collect();
    let expected = subject.gradients(|model| Ok(model.gradients(&sequences)?.1))?;
    for (name, _, found) in &gradients {
        let Some((wanted, change)) = expected.get(name) else { continue };
        let rounding = Rounding { expected: *change, at_least: 0.0 };
        let allowed = (DEVIATIONS * change).max(super::sites::FLOOR);
        let case = format!("{name}, a training step of {batch}×{context} tokens");
        let finding = Finding::within(case, found, wanted, rounding, allowed);
        report.add(Section::Trace, format!("∂ {}", kind(name)), finding);
    }
    let again = step()?;
    for ((name, _, one), (_, _, other)) in
        gradients.iter().chain(&weights).zip(again.0.iter().chain(&again.1))
    {
        report.add(Section::Repetition, "a training step", super::same_bits(name, one, other));
    }
    Ok(())
}
