//! Generation with the cache against plain forward passes, and what ends it.

mod support;

use retrograd_formats::{Head, Interventions, TokenId};
use retrograd_model::{Finish, GenerateOptions, Gpt2, Precision, SamplingOptions};
use std::ops::ControlFlow;
use support::{fixture, gpu};

fn ids(values: &[u32]) -> Vec<TokenId> {
    values.iter().copied().map(TokenId).collect()
}

/// Greedy continuation by one whole forward pass per token.
fn without_cache(model: &Gpt2, prompt: &[TokenId], count: usize, changes: &Interventions) -> Vec<TokenId> {
    let mut all = prompt.to_vec();
    for _ in 0..count {
        let logits = model.logits(&all, changes).unwrap();
        let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        all.push(TokenId(best as u32));
    }
    all.split_off(prompt.len())
}

#[test]
fn the_cache_changes_nothing() {
    for (name, count) in [("one_head", 6), ("bf16", 10), ("untied", 8), ("three_layers", 7)] {
        let model = Gpt2::load(&gpu(), fixture(name), Precision::F32).unwrap();
        let mut ablated = Interventions::default();
        ablated.ablate.insert(Head { layer: 0, head: 0 });
        for interventions in [Interventions::default(), ablated] {
            for prompt in [ids(&[3]), ids(&[5, 1, 77, 20])] {
                let expected = without_cache(&model, &prompt, count, &interventions);
                let options = GenerateOptions {
                    max_new_tokens: count,
                    interventions: interventions.clone(),
                    ..GenerateOptions::default()
                };
                let mut streamed = Vec::new();
                let generated = model
                    .generate(&prompt, &options, |id| {
                        streamed.push(id);
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                assert_eq!(generated.ids, expected, "{name} {prompt:?}");
                assert_eq!(streamed, expected);
                assert_eq!(generated.finish, Finish::Length);
            }
        }
    }
}

#[test]
fn generation_ends_at_the_context_the_stop_token_or_the_caller() {
    let model = Gpt2::load(&gpu(), fixture("bf16"), Precision::F32).unwrap();
    let positions = model.config().n_positions;
    let prompt = ids(&[1, 2, 3]);
    let options = GenerateOptions { max_new_tokens: 10 * positions, ..GenerateOptions::default() };
    let full = model.generate(&prompt, &options, |_| ControlFlow::Continue(())).unwrap();
    // The last position's token still predicts one more.
    assert_eq!((full.ids.len(), full.finish), (positions - prompt.len() + 1, Finish::ContextFull));

    let stop = GenerateOptions { stop: Some(full.ids[4]), ..options.clone() };
    let stopped = model.generate(&prompt, &stop, |_| ControlFlow::Continue(())).unwrap();
    let first = full.ids.iter().position(|id| *id == full.ids[4]).unwrap();
    assert_eq!((&stopped.ids[..], stopped.finish), (&full.ids[..first], Finish::Stop));

    let mut left = 2;
    let cancelled = model
        .generate(&prompt, &options, |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!((cancelled.ids.len(), cancelled.finish), (2, Finish::Cancelled));

    let none = GenerateOptions { max_new_tokens: 0, ..options };
    assert!(model.generate(&prompt, &none, |_| ControlFlow::Continue(())).unwrap().ids.is_empty());
}

#[test]
fn sampling_is_repeatable() {
    let model = Gpt2::load(&gpu(), fixture("bf16"), Precision::F32).unwrap();
    let draw = |seed| {
        let sampling = SamplingOptions { temperature: 1.5, top_k: Some(50), top_p: Some(0.95), seed };
        let options = GenerateOptions { max_new_tokens: 12, sampling, ..GenerateOptions::default() };
        model.generate(&ids(&[4, 4]), &options, |_| ControlFlow::Continue(())).unwrap().ids
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn wrong_prompts_are_refused() {
    let model = Gpt2::load(&gpu(), fixture("bf16"), Precision::F32).unwrap();
    let options = GenerateOptions::default();
    let refused = |prompt: &[TokenId]| {
        model.generate(prompt, &options, |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    assert!(refused(&[]).contains("none"));
    assert!(refused(&ids(&[100_000])).contains("outside the vocabulary"));
    assert!(refused(&vec![TokenId(1); model.config().n_positions + 1]).contains("n_positions"));
}
