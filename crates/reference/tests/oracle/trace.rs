//! The trace as a thing that is read, and the requests that are refused.

use crate::random::{Random, config, model, parameters};
use retrograd_formats::{BlockSite, Capture, Layer, Objective, Site, TokenId, TraceRead, TraceRequest};
use retrograd_reference::ReferenceModel;
use std::collections::BTreeMap;

type Parts = BTreeMap<String, Vec<f64>>;

fn request(t: usize) -> TraceRequest {
    TraceRequest::new(Random::new(60).ids(t, 11), Objective::NextToken)
}

#[test]
fn every_site_has_its_shape_and_order() {
    let config = config(2, 6, 3, 5, true);
    let trace = model(&config, 61).trace(&request(4)).unwrap().with_prompt("four tokens");
    assert_eq!(trace.sites(), Site::all(2));
    let (meta, all) = (trace.meta(), Site::all(2));
    assert_eq!((meta.adapter.as_str(), meta.driver.as_str()), ("reference", "f64 on the CPU"));
    assert_eq!((meta.prompt.as_deref(), &meta.config), (Some("four tokens"), &config));
    for (site, tensor) in all.iter().zip(trace.read_all(&all).unwrap()) {
        assert_eq!(tensor.shape, site.shape(&config, 4, 3), "{site}");
        let exact = trace.get(*site).unwrap();
        assert_eq!(exact.len(), tensor.shape.iter().product::<usize>(), "{site}");
        if *site == Site::Tokens {
            assert_eq!(tensor.as_u32(), request(4).ids.iter().map(|id| id.0).collect::<Vec<_>>());
        } else {
            assert!(
                exact.iter().zip(tensor.as_f32()).all(|(x, y)| *x as f32 == *y),
                "{site} is rounded once"
            );
        }
    }
}

#[test]
fn what_is_not_captured_is_not_there() {
    let reversed = Site::Block(Layer(1), BlockSite::Reversed);
    let request = request(4).capture(Capture::only([reversed]));
    let trace = model(&config(2, 6, 3, 5, true), 61).trace(&request).unwrap();
    assert_eq!(trace.sites(), [Site::Tokens, Site::Loss, reversed]);
    assert!(trace.get(Site::Logits).is_none());
    let error = trace.read(Site::Logits).unwrap_err().to_string();
    assert!(error.starts_with("logits: is not in this trace"), "{error}");
}

#[test]
fn two_runs_have_the_same_bits() {
    let model = model(&config(2, 6, 3, 5, false), 62);
    let (first, second) = (model.trace(&request(7)).unwrap(), model.trace(&request(7)).unwrap());
    for site in Site::all(2) {
        let bits = |x: &[f64]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(first.get(site).unwrap()), bits(second.get(site).unwrap()), "{site}");
    }
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let model = model(&config(1, 6, 3, 5, true), 63);
    let (good, bad) = (TokenId(0), TokenId(11));
    assert!(model.forward(&[]).is_err());
    assert!(model.forward(&[good; 8]).is_err(), "more than n_positions");
    assert!(model.forward(&[bad]).is_err());
    assert!(model.trace(&TraceRequest::new(vec![good], Objective::NextToken)).is_err());
    assert!(model.gradients(&[]).is_err());
    assert!(model.gradients(&[(vec![good], vec![])]).is_err());
    assert!(model.gradients(&[(vec![good], vec![bad])]).is_err());
    assert!(model.gradients(&[(vec![good], vec![good]), (vec![], vec![])]).is_err());
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let config = config(1, 6, 3, 5, true);
    let refused = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parameters(&config, 64);
        change(&mut parts);
        ReferenceModel::from_parts(config.clone(), parts).unwrap_err().to_string()
    };
    let three_heads_of_seven = retrograd_formats::Config { n_embd: 7, ..config.clone() };
    assert!(ReferenceModel::from_parts(three_heads_of_seven, parameters(&config, 64)).is_err());
    let no_layers = retrograd_formats::Config { n_layer: 0, ..config.clone() };
    assert!(ReferenceModel::from_parts(no_layers, parameters(&config, 64)).is_err());
    let wpe = "transformer.wpe.weight";
    assert_eq!(refused(&|parts| drop(parts.remove(wpe))), format!("{wpe}: is missing; its shape is [7, 6]"));
    assert_eq!(
        refused(&|parts| drop(parts.insert(wpe.to_owned(), vec![0.0; 5]))),
        format!("{wpe}: has 5 values; its shape is [7, 6]")
    );
    assert_eq!(
        refused(&|parts| drop(parts.insert("lm_head.weight".to_owned(), vec![0.0; 66]))),
        "lm_head.weight: is not a parameter of this model"
    );
}
