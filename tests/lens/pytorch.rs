//! Against `tests/fixtures/*/lens.safetensors` (see `tests/fixtures/lens.py`).

use crate::gpu;
use retrograd::lens::{LensEntry, LensOptions, LensReport, gradient, lens, lens_sites};
use retrograd::reference::ReferenceModel;
use retrograd::{
    Gpt2, Layer, LinearKind, LinearLayer, Objective, Precision, Project, TokenId, TraceRead, TraceRequest,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

const FOLDERS: [&str; 5] = ["one_head", "bf16", "massive", "untied", "three_layers"];
const SITES: &str = "mlp.c_fc.input,mlp.c_proj.delta,attn.c_proj.delta,resid_post";

fn folder(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures")).join(name)
}

/// Name → values of lens.safetensors.
fn expected(name: &str) -> BTreeMap<String, Vec<f64>> {
    let bytes = std::fs::read(folder(name).join("lens.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f64> {
        let tensor = file.tensor(name).unwrap();
        match tensor.dtype() {
            Dtype::F64 => {
                tensor.data().chunks(8).map(|x| f64::from_le_bytes(x.try_into().unwrap())).collect()
            }
            _ => tensor
                .data()
                .chunks(4)
                .map(|x| f64::from(u32::from_le_bytes(x.try_into().unwrap())))
                .collect(),
        }
    };
    file.names().into_iter().map(|name| (name.to_string(), values(name))).collect()
}

fn request(name: &str) -> TraceRequest {
    let text = std::fs::read_to_string(folder(name).join("fixture.json")).unwrap();
    let fixture: Value = serde_json::from_str(&text).unwrap();
    let token = |value: &Value| TokenId(value.as_u64().unwrap() as u32);
    let ids = fixture["ids"].as_array().unwrap().iter().map(token).collect();
    let objective = &fixture["objective"];
    let objective = match objective["kind"].as_str().unwrap() {
        "target" => Objective::Target(token(&objective["target"])),
        "completion" => {
            Objective::Completion { start: objective["completion_start"].as_u64().unwrap() as usize }
        }
        "logit_difference" => Objective::LogitDifference {
            token: token(&objective["target"]),
            minus: token(&objective["minus"]),
        },
        other => panic!("{other}"),
    };
    TraceRequest::new(ids, objective)
}

/// How far probabilities may be off, relative: the device's logits have errors of up to a few 1e-6 of the largest.
fn check(name: &str, report: &LensReport, tolerance: f64) {
    let expected = expected(name);
    assert_eq!(f64::from(report.target.as_ref().unwrap().token.id), expected["target"][0]);
    for entry in &report.entries {
        let prefix = if report.normalized { "normalized." } else { "" };
        let site = format!("transformer.h.{}.{}", entry.layer, entry.site);
        let what = format!("{name}, {prefix}{site} at {}", entry.position);
        let of = |key: &str| &expected[&format!("{prefix}{site}.{key}")];
        let norm = expected[&format!("{site}.norm")][entry.position];
        assert!((entry.norm - norm).abs() <= 1e-5 * norm, "norm of {what}: {} for {norm}", entry.norm);
        let at = |key: &str| of(key)[entry.position];
        let rank = entry.target_rank.unwrap() as f64;
        assert!((at("rank_low")..=at("rank_high")).contains(&rank), "rank {rank} of {what}");
        let close = |found: f64, wanted: f64| (found - wanted).abs() <= tolerance * wanted.max(1e-30);
        assert!(close(entry.target_probability.unwrap(), at("probability")), "probability of {what}");
        assert!((entry.entropy_bits - at("entropy_bits")).abs() <= tolerance, "entropy of {what}");
        lists(&what, entry, of, tolerance);
    }
}

/// The same tokens in the same order, but for neighbours whose probabilities are as good as equal.
fn lists<'a>(what: &str, entry: &LensEntry, of: impl Fn(&str) -> &'a Vec<f64>, tolerance: f64) {
    for (key, list) in [("top", &entry.top), ("bottom", &entry.bottom)] {
        assert_eq!(list.len(), 3);
        for (slot, found) in list.iter().enumerate() {
            let id = of(key)[3 * entry.position + slot];
            let p = of(&format!("{key}_probability"))[3 * entry.position + slot];
            assert!(
                (found.probability - p).abs() <= tolerance * p,
                "{key} {slot} of {what}: {found:?} for {p}"
            );
            if f64::from(found.token.id) != id {
                assert!(
                    (found.probability / p - 1.0).abs() < 1e-5,
                    "{key} {slot} of {what}: {found:?} for {id}"
                );
            }
        }
    }
}

fn compare(name: &str, trace: &dyn TraceRead, model: &dyn Project, tolerance: f64) {
    let sites = lens_sites(Some(SITES), None, model.config().n_layer).unwrap();
    for normalize in [false, true] {
        let options = LensOptions { sites: sites.clone(), top: 3, normalize };
        check(name, &lens(trace, model, &options, None).unwrap(), tolerance);
    }
    let expected = expected(name);
    for layer in 0..model.config().n_layer {
        for kind in LinearKind::ALL {
            let factors = gradient(trace, LinearLayer::Block(Layer(layer), kind)).unwrap();
            let wanted = &expected[&format!("{}.singular", factors.layer)];
            let found = factors.singular_values();
            assert!(found.len() <= wanted.len());
            for (at, &wanted_value) in wanted.iter().enumerate() {
                let value = found.get(at).copied().unwrap_or(0.0);
                let off = (value - wanted_value).abs() / wanted[0];
                assert!(off <= 1e-5, "{name}, {} value {at}: {value} for {wanted_value}", factors.layer);
            }
        }
    }
}

#[test]
fn the_oracle_reads_what_pytorch_reads() {
    for name in FOLDERS {
        let model = ReferenceModel::load(&folder(name)).unwrap();
        // The vectors are rounded to f32 between trace and lens.
        compare(name, &model.trace(&request(name)).unwrap(), &model, 1e-5);
    }
}

#[test]
fn the_device_reads_what_pytorch_reads() {
    for name in FOLDERS {
        let model = Gpt2::load(gpu(), folder(name), Precision::F32).unwrap();
        compare(name, &model.trace(&request(name)).unwrap(), &model, 1e-4);
    }
}
