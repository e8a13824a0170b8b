//! What an intervention changes, and what it leaves alone.

use crate::random::{Random, config, model, parameters};
use retrograd_formats::{
    AttentionPatch, BlockSite, Head, Interventions, Layer, Objective, Site, TokenId, TraceRequest,
};
use retrograd_reference::ReferenceModel;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn ablation_is_a_model_with_zeroed_rows() {
    let config = config(2, 6, 3, 5, true);
    let ids = Random::new(50).ids(4, config.vocab_size);
    let request = TraceRequest::new(ids, Objective::Target(TokenId(1)));
    let head = Head { layer: 1, head: 2 };
    let ablate = Interventions { ablate: BTreeSet::from([head]), patch: None };
    let ablated = model(&config, 51).trace(&request.clone().interventions(ablate)).unwrap();

    let mut zeroed = parameters(&config, 51);
    zeroed.get_mut("transformer.h.1.attn.c_proj.weight").unwrap()[2 * 2 * 6..].fill(0.0);
    let zeroed = ReferenceModel::from_parts(config.clone(), zeroed).unwrap().trace(&request).unwrap();
    for site in Site::all(2) {
        assert_eq!(ablated.get(site), zeroed.get(site), "{site}");
    }

    let get = |site| ablated.get(Site::Block(Layer(1), site)).unwrap();
    assert!(get(BlockSite::Reversed)[2 * 16..].iter().all(|x| *x == 0.0), "R of the head");
    assert!(get(BlockSite::Reversed)[..2 * 16].iter().any(|x| *x != 0.0), "R of the others");
    assert!(
        get(BlockSite::AttnProjInput).chunks(6).all(|o| o[4..].iter().all(|x| *x != 0.0)),
        "concat(o) is kept"
    );
    assert!(
        get(BlockSite::CAttnDelta).chunks(6).all(|x| x[4..].iter().all(|x| *x == 0.0)),
        "∂q ∂k ∂v of the head"
    );
}

#[test]
fn a_patch_changes_the_chosen_heads_only() {
    let config = config(2, 6, 3, 5, true);
    let (t, mut random) = (4, Random::new(52));
    let ids = random.ids(t, config.vocab_size);
    let request = TraceRequest::new(ids, Objective::Target(TokenId(1)));
    let map: Vec<f32> = (0..3 * t * t).map(|_| random.number() as f32).collect();
    let patch = |heads, alpha| {
        let patch = AttentionPatch { alpha, maps: BTreeMap::from([(0, map.clone())]), heads };
        let interventions = Interventions { ablate: BTreeSet::new(), patch: Some(patch) };
        model(&config, 53).trace(&request.clone().interventions(interventions)).unwrap()
    };
    let plain = model(&config, 53).trace(&request).unwrap();
    let one = patch(Some(BTreeSet::from([Head { layer: 0, head: 1 }])), -2.0);
    let site = |site| Site::Block(Layer(0), site);
    assert_eq!(one.get(site(BlockSite::Pattern)), plain.get(site(BlockSite::Pattern)), "A stays A");
    let o = |trace: &retrograd_reference::ReferenceTrace, head: usize| -> Vec<f64> {
        let o = trace.get(site(BlockSite::AttnProjInput)).unwrap();
        o.chunks(6).flat_map(|row| row[2 * head..][..2].to_vec()).collect()
    };
    assert_eq!((o(&one, 0), o(&one, 2)), (o(&plain, 0), o(&plain, 2)));
    assert!(o(&one, 1).iter().zip(&o(&plain, 1)).all(|(a, b)| a != b));

    // No head, no α, and heads of a layer that has no map: nothing changes.
    let elsewhere = Some(BTreeSet::from([Head { layer: 1, head: 1 }]));
    for nothing in [patch(Some(BTreeSet::new()), -2.0), patch(None, 0.0), patch(elsewhere, -2.0)] {
        for site in Site::all(2) {
            assert_eq!(nothing.get(site), plain.get(site), "{site}");
        }
    }
}
