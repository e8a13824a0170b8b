//! Passes over several sequences against the f64 oracle, one sequence at a time: what a batch, a tail or a switch leaves out
//! must not show.

mod support;

use retrograd_formats::{
    AttentionPatch, BlockSite, Capture, Config, Head, HostTensor, Interventions, Layer, Objective, Site,
    TokenId, TraceRead as _, TraceRequest,
};
use retrograd_model::{Gpt2, ModelError, Precision, Replacement};
use retrograd_reference::ReferenceModel;
use std::collections::{BTreeMap, BTreeSet};
use support::{fixture, gpu};

/// The bound of the PyTorch fixtures' smallest model, for all of them.
const TOLERANCE: f64 = 5e-6;

fn models(name: &str) -> (Gpt2, ReferenceModel) {
    let dir = fixture(name);
    (Gpt2::load(&gpu(), &dir, Precision::F32).unwrap(), ReferenceModel::load(&dir).unwrap())
}

/// Sequences of `tokens` tokens, none like another.
fn sequences(config: &Config, count: usize, tokens: usize) -> Vec<Vec<TokenId>> {
    let id = |at: usize| TokenId((at * 7 + at * at * 3 + 1) as u32 % config.vocab_size as u32);
    (0..count).map(|sequence| (0..tokens).map(|at| id(sequence * 31 + at)).collect()).collect()
}

fn worst(found: &[f32], wanted: &[f64]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(1e-30, |largest: f64, value| largest.max(value.abs()));
    found.iter().zip(wanted).fold(0.0, |worst: f64, (f, w)| worst.max((f64::from(*f) - w).abs())) / largest
}

fn assert_near(what: &str, found: &[f32], wanted: &[f64]) {
    let error = worst(found, wanted);
    assert!(error <= TOLERANCE, "{what}: {error:.1e}");
}

fn maps(config: &Config) -> Vec<Site> {
    let both = [BlockSite::Pattern, BlockSite::Reversed];
    (0..config.n_layer).flat_map(|layer| both.map(|site| Site::Block(Layer(layer), site))).collect()
}

/// A patch on all layers but the first, and a silenced head.
fn interventions(config: &Config, tokens: usize) -> Interventions {
    let map: Vec<f32> = (0..config.n_head * tokens * tokens)
        .map(|at| if at % tokens <= at / tokens % tokens { (at % 13) as f32 / 40.0 } else { 0.0 })
        .collect();
    let maps: BTreeMap<usize, Vec<f32>> = (1..config.n_layer).map(|layer| (layer, map.clone())).collect();
    let patch = AttentionPatch { alpha: -0.7, maps, heads: None };
    Interventions { ablate: [Head { layer: 0, head: config.n_head - 1 }].into(), patch: Some(patch) }
}

fn objectives() -> [fn(usize) -> Objective; 3] {
    [
        |at| Objective::Target(TokenId(at as u32 + 2)),
        |_| Objective::Completion { start: 3 },
        |at| Objective::LogitDifference { token: TokenId(at as u32), minus: TokenId(at as u32 + 5) },
    ]
}

#[test]
fn a_batch_is_its_sequences_one_by_one() {
    for name in ["three_layers", "one_head"] {
        let (model, oracle) = models(name);
        let config = model.config().clone();
        let everything: Vec<Site> = Site::all(config.n_layer)
            .into_iter()
            .filter(|site| !site.to_string().ends_with(".grad") && *site != Site::Loss)
            .collect();
        for (kept, tokens) in [(maps(&config), 6), (everything, 6), (maps(&config), 4)] {
            for (number, objective) in objectives().into_iter().enumerate() {
                for changed in [false, true] {
                    let capture = Capture::only(kept.clone()).head_norms();
                    let requests: Vec<TraceRequest> = sequences(&config, 3, tokens)
                        .into_iter()
                        .enumerate()
                        .map(|(at, ids)| {
                            let request = TraceRequest::new(ids, objective(at)).capture(capture.clone());
                            if changed {
                                request.interventions(interventions(&config, tokens))
                            } else {
                                request
                            }
                        })
                        .collect();
                    let batch = model.trace_batch(&requests).unwrap();
                    let (losses, norms) = (batch.losses().unwrap(), batch.head_norms().unwrap());
                    let read = batch.read_all(&kept).unwrap();
                    let (mut attributions, mut wanted_attributions) = (Vec::new(), Vec::new());
                    for (at, request) in requests.iter().enumerate() {
                        let case = format!("{name}, objective {number}, sequence {at}, changed {changed}");
                        let alone = oracle.trace(request).unwrap();
                        for (site, tensor) in kept.iter().zip(&read) {
                            assert_eq!(tensor.shape[0], 3, "{site}");
                            if *site == Site::Tokens {
                                continue;
                            }
                            let wanted = alone.get(*site).unwrap();
                            let own = &tensor.as_f32()[at * wanted.len()..][..wanted.len()];
                            assert_near(&format!("{case}, {site}"), own, wanted);
                        }
                        let loss = f64::from(alone.loss().unwrap());
                        assert!(
                            (f64::from(losses[at]) - loss).abs() <= 5e-6 * loss.abs().max(1.0),
                            "{case}: {loss}"
                        );
                        let wanted = alone.head_norms().unwrap().unwrap();
                        for (what, found, wanted) in [
                            ("‖A‖", &norms[at].pattern, &wanted.pattern),
                            ("‖R‖", &norms[at].reversed, &wanted.reversed),
                        ] {
                            let found: Vec<f32> = found.concat().into_iter().map(|x| x as f32).collect();
                            assert_near(&format!("{case}, {what}"), &found, &wanted.concat());
                        }
                        attributions.extend(norms[at].attribution.concat().into_iter().map(|x| x as f32));
                        wanted_attributions.extend(wanted.attribution.concat());
                    }
                    // Their terms cancel, in a sequence of a model of one head nearly all: all sequences at once.
                    assert_near(&format!("{name}, objective {number}"), &attributions, &wanted_attributions);
                }
            }
        }
    }
}

#[test]
fn a_single_trace_of_maps_leaves_out_only_what_nobody_sees() {
    let (model, oracle) = models("three_layers");
    let config = model.config().clone();
    for objective in objectives() {
        let kept = maps(&config);
        let request = TraceRequest::new(sequences(&config, 1, 7).remove(0), objective(0));
        let request = request.capture(Capture::only(kept.clone()).head_norms());
        let (found, wanted) = (model.trace(&request).unwrap(), oracle.trace(&request).unwrap());
        for (site, tensor) in kept.iter().zip(found.read_all(&kept).unwrap()) {
            assert_near(&site.to_string(), tensor.as_f32(), wanted.get(*site).unwrap());
        }
        let (found, wanted) = (found.head_norms().unwrap().unwrap(), wanted.head_norms().unwrap().unwrap());
        let found: Vec<f32> = found.attribution.concat().into_iter().map(|x| x as f32).collect();
        assert_near("attribution", &found, &wanted.attribution.concat());
    }
}

#[test]
fn objectives_share_a_forward_pass() {
    let (model, oracle) = models("three_layers");
    let config = model.config().clone();
    let kept = maps(&config);
    let request = TraceRequest::new(sequences(&config, 1, 6).remove(0), Objective::NextToken);
    let request = request.capture(Capture::only(kept.clone()));
    let given = [
        Objective::Target(TokenId(3)),
        Objective::Target(TokenId(8)),
        Objective::LogitDifference { token: TokenId(3), minus: TokenId(8) },
        Objective::LogitDifference { token: TokenId(1), minus: TokenId(2) },
        Objective::NextToken,
    ];
    let mut seen = 0;
    model
        .trace_objectives(&request, &given, |at, trace| {
            let wanted = TraceRequest { objective: given[at].clone(), ..request.clone() };
            let wanted = oracle.trace(&wanted).unwrap();
            for (site, tensor) in kept.iter().zip(trace.read_all(&kept)?) {
                assert_near(&format!("objective {at}, {site}"), tensor.as_f32(), wanted.get(*site).unwrap());
            }
            let (found, wanted) = (f64::from(trace.loss()?), f64::from(wanted.loss().unwrap()));
            assert!((found - wanted).abs() < 1e-5, "{found}, {wanted}");
            seen += 1;
            Ok::<(), ModelError>(())
        })
        .unwrap();
    assert_eq!(seen, given.len());
}

/// The oracle's logits after the last token.
fn logits(oracle: &ReferenceModel, ids: &[TokenId], interventions: Interventions) -> Vec<f64> {
    let request = TraceRequest::new(ids.to_vec(), Objective::Target(TokenId(0))).interventions(interventions);
    oracle.trace(&request).unwrap().get(Site::Logits).unwrap().to_vec()
}

#[test]
fn switches_silence_heads_of_each_sequence() {
    let (model, oracle) = models("three_layers");
    let config = model.config().clone();
    let ids = sequences(&config, 3, 5);
    let mut batch = model.forward_batch(4, 5, None).unwrap();
    assert!(batch.logits().unwrap_err().to_string().contains("no tokens yet"));
    batch.set_tokens(&ids).unwrap();
    let all: BTreeSet<Head> = (0..config.n_layer)
        .flat_map(|layer| (0..config.n_head).map(move |head| Head { layer, head }))
        .collect();
    let one: BTreeSet<Head> = [Head { layer: 1, head: 0 }].into();
    for sets in [[BTreeSet::new(), one.clone(), all.clone()], [all, BTreeSet::new(), one]] {
        batch.silence_each(&sets).unwrap();
        let found = batch.logits().unwrap();
        assert_eq!(found.len(), 3);
        for ((ids, set), found) in ids.iter().zip(&sets).zip(&found) {
            let wanted = Interventions { ablate: set.clone(), ..Interventions::default() };
            assert_near(&format!("{set:?}"), found, &logits(&oracle, ids, wanted));
        }
    }
    // New tokens make nothing of the last run count.
    let others = sequences(&config, 5, 5).split_off(3);
    batch.set_tokens(&others).unwrap();
    batch.silence(&BTreeSet::new()).unwrap();
    for (ids, found) in others.iter().zip(batch.logits().unwrap()) {
        assert_near("new tokens", &found, &logits(&oracle, ids, Interventions::default()));
    }
    assert!(batch.set_tokens(&sequences(&config, 5, 5)).unwrap_err().to_string().contains("room for"));
    assert!(batch.set_tokens(&sequences(&config, 1, 4)).unwrap_err().to_string().contains("4 tokens"));
    let stranger = [Head { layer: 99, head: 0 }].into();
    assert!(batch.silence(&stranger).unwrap_err().to_string().contains("99.0"));
}

#[test]
fn every_sequence_has_its_factor() {
    let (model, oracle) = models("three_layers");
    let config = model.config().clone();
    let ids = sequences(&config, 3, 6);
    let patch = interventions(&config, 6).patch.unwrap();
    let mut batch = model.forward_batch(3, 6, Some(&patch)).unwrap();
    batch.set_tokens(&ids).unwrap();
    for factors in [[0.0, -0.7, 3.0], [-120.0, 0.0, -0.7]] {
        batch.set_alpha(&factors).unwrap();
        for ((ids, alpha), found) in ids.iter().zip(factors).zip(batch.logits().unwrap()) {
            let patch = AttentionPatch { alpha, ..patch.clone() };
            let wanted = Interventions { patch: Some(patch), ..Interventions::default() };
            assert_near(&format!("α = {alpha}"), &found, &logits(&oracle, ids, wanted));
        }
    }
    assert!(batch.set_alpha(&[f32::NAN]).unwrap_err().to_string().contains("finite"));
    assert!(batch.silence(&BTreeSet::new()).is_err());
}

#[test]
fn effects_of_heads_are_those_of_ablated_passes() {
    for (name, tokens) in [("three_layers", 6), ("one_head", 5), ("three_layers", 1)] {
        let (model, oracle) = models(name);
        let ids = sequences(model.config(), 2, tokens);
        let mut effects = model.head_effects(3, tokens, Replacement::Zero).unwrap();
        let mut seen = Vec::new();
        effects
            .run(&ids, None, |prompt, head, found| {
                let ablate = head.into_iter().collect();
                let wanted =
                    logits(&oracle, &ids[prompt], Interventions { ablate, ..Interventions::default() });
                assert_near(&format!("{name}, prompt {prompt}, {head:?}"), found, &wanted);
                seen.push((prompt, head));
            })
            .unwrap();
        assert_eq!(seen.len(), 2 * (1 + model.config().n_layer * model.config().n_head));
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
    }
}

#[test]
fn a_head_given_its_own_output_changes_nothing() {
    let (model, oracle) = models("three_layers");
    let config = model.config().clone();
    let ids = sequences(&config, 1, 6);
    let sites: Vec<Site> =
        (0..config.n_layer).map(|layer| Site::Block(Layer(layer), BlockSite::AttnProjInput)).collect();
    let own = |tensor: HostTensor| tensor.as_f32()[5 * config.n_embd..].to_vec();
    let means: Vec<Vec<f32>> = model.observe(&ids[0], &sites).unwrap().into_iter().map(own).collect();
    let mut effects = model.head_effects(1, 6, Replacement::Given).unwrap();
    let unchanged = logits(&oracle, &ids[0], Interventions::default());
    effects
        .run(&ids, Some(&means), |_, head, found| assert_near(&format!("{head:?}"), found, &unchanged))
        .unwrap();
    assert!(effects.run(&ids, None, |_, _, _| ()).unwrap_err().to_string().contains("means"));
}

#[test]
fn a_batch_of_unlike_requests_is_refused() {
    let (model, _) = models("three_layers");
    let ids = sequences(model.config(), 1, 5).remove(0);
    let first = TraceRequest::new(ids.clone(), Objective::Target(TokenId(1)));
    let refused = |second: TraceRequest| match model.trace_batch(&[first.clone(), second]) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    assert!(refused(TraceRequest::new(ids[1..].to_vec(), Objective::Target(TokenId(1)))).contains("length"));
    assert!(refused(TraceRequest::new(ids.clone(), Objective::NextToken)).contains("other positions"));
    assert!(refused(first.clone().capture(Capture::none())).contains("captures"));
    assert!(refused(first.clone().interventions(interventions(model.config(), 5))).contains("interventions"));
    assert!(model.trace_batch(&[]).is_err());
    let batch = model.trace_batch(&[first.clone(), first.clone()]).unwrap();
    assert!(batch.read_all(&[Site::Loss]).unwrap_err().to_string().contains("sum"));
    assert!(batch.head_norms().is_err());
}
