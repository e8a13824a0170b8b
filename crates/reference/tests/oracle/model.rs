//! Finite differences through whole blocks and whole models, in every parameter.

use crate::finite_difference::{distance, slopes};
use crate::random::{Random, config, model, parameters};
use retrograd_formats::{
    AttentionPatch, Capture, Config, Head, Interventions, Objective, Site, TokenId, TraceRead, TraceRequest,
};
use retrograd_reference::{Gradients, ReferenceModel};
use std::collections::{BTreeMap, BTreeSet};

/// The largest distance seen is 4e-10: LayerNorm over three numbers is steep.
const TOLERANCE: f64 = 1e-8;

/// Compares `gradients` with the slopes of `loss` in each element of each parameter, relative to the
/// largest of that parameter. `skip` names elements that the loss is not a function of.
fn assert_gradients(
    config: &Config,
    seed: u64,
    gradients: &Gradients,
    loss: impl Fn(&ReferenceModel) -> f64,
    skip: impl Fn(&str, usize) -> bool,
) {
    let start = parameters(config, seed);
    assert_eq!(gradients.keys().collect::<Vec<_>>(), start.keys().collect::<Vec<_>>());
    for (name, values) in &start {
        let numeric = slopes(values, |values| {
            let mut changed = start.clone();
            changed.insert(name.clone(), values.to_vec());
            loss(&ReferenceModel::from_parts(config.clone(), changed).unwrap())
        });
        let kept = |x: &[f64]| -> Vec<f64> {
            x.iter().enumerate().filter(|(i, _)| !skip(name, *i)).map(|(_, x)| *x).collect()
        };
        let (analytic, numeric) = (kept(&gradients[name]), kept(&numeric));
        let off = distance(&analytic, &numeric);
        // A gradient that is 0 (a token's logit against itself) leaves only the rounding of the slopes.
        let nothing = analytic.iter().chain(&numeric).all(|x| x.abs() < 1e-11);
        assert!(off <= TOLERANCE || nothing, "{name}: {off:e} from the finite difference");
    }
}

fn loss_of(model: &ReferenceModel, request: &TraceRequest) -> f64 {
    model.trace(&request.clone().capture(Capture::none())).unwrap().get(Site::Loss).unwrap()[0]
}

fn assert_request(config: &Config, seed: u64, request: &TraceRequest) {
    let (loss, gradients) = model(config, seed).weight_gradients(request).unwrap();
    assert_eq!(loss, loss_of(&model(config, seed), request));
    // The rows of an ablated head count as zero whatever they are.
    let rows = config.head_dim() * config.n_embd;
    let ablated = |name: &str, i: usize| {
        let here = |head: &Head| name == format!("transformer.h.{}.attn.c_proj.weight", head.layer);
        request.interventions.ablate.iter().any(|head| here(head) && i / rows == head.head)
    };
    assert_gradients(config, seed, &gradients, |model| loss_of(model, request), ablated);
}

/// (layers, D, H, I, tied, T)
const SHAPES: [(usize, usize, usize, usize, bool, usize); 6] = [
    (1, 3, 1, 5, true, 1),
    (1, 6, 3, 7, true, 4),
    (1, 5, 5, 3, false, 5),
    (2, 6, 3, 7, false, 1),
    (2, 6, 1, 9, true, 4),
    (3, 5, 5, 4, true, 3),
];

#[test]
fn every_parameter_of_every_shape() {
    for (seed, (n_layer, d, h, i, tied, t)) in SHAPES.into_iter().enumerate() {
        let config = config(n_layer, d, h, i, tied);
        let ids = Random::new(seed as u64).ids(t, config.vocab_size);
        assert_request(&config, seed as u64, &TraceRequest::new(ids, Objective::Target(TokenId(7))));
    }
}

#[test]
fn every_objective() {
    let config = config(1, 6, 3, 5, true);
    let mut random = Random::new(20);
    let delta: Vec<f32> = (0..2 * config.vocab_size).map(|_| random.number() as f32).collect();
    for objective in [
        Objective::Completion { start: 1 },
        Objective::Completion { start: 3 },
        Objective::NextToken,
        Objective::LogitDifference { token: TokenId(2), minus: TokenId(9) },
        Objective::LogitDifference { token: TokenId(2), minus: TokenId(2) },
        Objective::Delta { first_position: 1, delta },
    ] {
        assert_request(&config, 21, &TraceRequest::new(random.ids(4, config.vocab_size), objective));
    }
}

#[test]
fn under_every_intervention() {
    let config = config(2, 6, 3, 5, true);
    let mut random = Random::new(22);
    let t = 4;
    let mut map = || -> Vec<f32> {
        (0..3 * t * t).map(|at| if at % t <= at / t % t { random.number() as f32 } else { 0.0 }).collect()
    };
    let maps = BTreeMap::from([(0, map()), (1, map())]);
    let some = BTreeSet::from([Head { layer: 0, head: 2 }, Head { layer: 1, head: 0 }]);
    let all_heads = AttentionPatch { alpha: -2.0, maps, heads: None };
    let some_heads = AttentionPatch { heads: Some(some.clone()), ..all_heads.clone() };
    for interventions in [
        Interventions { ablate: some.clone(), patch: None },
        Interventions { ablate: BTreeSet::new(), patch: Some(all_heads.clone()) },
        Interventions { ablate: BTreeSet::new(), patch: Some(some_heads) },
        Interventions { ablate: some, patch: Some(all_heads) },
    ] {
        let ids = Random::new(23).ids(t, config.vocab_size);
        let request = TraceRequest::new(ids, Objective::NextToken).interventions(interventions);
        assert_request(&config, 24, &request);
    }
}

#[test]
fn a_training_batch() {
    let config = config(2, 6, 3, 7, true);
    let mut random = Random::new(25);
    // Of different lengths: the mean is over positions, not over sequences.
    let batch: Vec<_> = [4, 1, 2]
        .map(|t| (random.ids(t, config.vocab_size), random.ids(t, config.vocab_size)))
        .into_iter()
        .collect();
    let (loss, gradients) = model(&config, 26).gradients(&batch).unwrap();
    let batch_loss = |model: &ReferenceModel| model.gradients(&batch).unwrap().0;
    assert_eq!(loss, batch_loss(&model(&config, 26)));
    assert_gradients(&config, 26, &gradients, batch_loss, |_, _| false);
}

#[test]
fn a_batch_of_one_sequence_is_the_next_token_objective() {
    let config = config(2, 6, 3, 7, false);
    let ids = Random::new(27).ids(5, config.vocab_size);
    let model = model(&config, 28);
    let (loss, gradients) = model.gradients(&[(ids[..4].to_vec(), ids[1..].to_vec())]).unwrap();
    let (traced, factors) = model.weight_gradients(&TraceRequest::new(ids, Objective::NextToken)).unwrap();
    assert!((loss - traced).abs() < 1e-14);
    for (name, gradient) in &gradients {
        assert!(distance(gradient, &factors[name]) < 1e-12, "{name}");
    }
}

#[test]
fn forward_gives_the_logits_of_every_position() {
    let config = config(2, 6, 3, 7, true);
    let ids = Random::new(29).ids(5, config.vocab_size);
    let model = model(&config, 30);
    let logits = model.forward(&ids).unwrap();
    assert_eq!(logits.len(), 5 * config.vocab_size);
    let trace = model.trace(&TraceRequest::new(ids.clone(), Objective::NextToken)).unwrap();
    assert_eq!(trace.get(Site::Logits).unwrap(), &logits[..4 * config.vocab_size]);
    assert!((f64::from(trace.loss().unwrap()) - trace.get(Site::Loss).unwrap()[0]).abs() < 1e-6);
    // What comes later changes nothing before it.
    let shorter = model.forward(&ids[..2]).unwrap();
    assert!(distance(&shorter, &logits[..2 * config.vocab_size]) < 1e-14);
}
