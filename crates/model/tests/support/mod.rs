//! What the tests of the model share: a device, fixtures, error measures.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use retrograd_formats::{
    Config, Head, Interventions, Objective, PatchMap, TokenId, TraceRequest, trace_file,
};
use retrograd_gpu::{Gpu, GpuOptions};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// One device for the whole test binary, its kernels compiled with the driver's checks.
pub fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap()).clone()
}

/// A folder of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures")).join(name)
}

/// The trace fixtures, in the order of their README.
pub const TRACES: [&str; 13] = [
    "one_token",
    "one_head",
    "bf16",
    "f16_shards",
    "massive",
    "untied",
    "next_token_9",
    "next_token_64",
    "next_token_96",
    "three_layers",
    "logit_difference_37",
    "ablated",
    "patched",
];

/// max |Δ| / max |reference|; max |Δ| where the reference is 0 throughout. NaN counts as infinite.
pub fn relative_error(values: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(values.len(), reference.len());
    let scale = reference.iter().fold(0.0_f64, |scale, r| scale.max(r.abs()));
    let worst = values.iter().zip(reference).fold(0.0_f64, |worst, (v, r)| {
        let delta = (f64::from(*v) - r).abs();
        if delta.is_nan() { f64::INFINITY } else { worst.max(delta) }
    });
    if scale == 0.0 { worst } else { worst / scale }
}

/// A file of F64 (and U32) tensors, as f64 by name.
pub fn read_f64(path: &std::path::Path) -> BTreeMap<String, Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::F64)
        .map(|(name, view)| {
            let words = view.data().chunks_exact(8);
            (name, words.map(|word| f64::from_le_bytes(word.try_into().unwrap())).collect())
        })
        .collect()
}

/// A file of U32 tensors, by name.
pub fn read_u32(path: &std::path::Path) -> BTreeMap<String, Vec<u32>> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::U32)
        .map(|(name, view)| {
            let words = view.data().chunks_exact(4);
            (name, words.map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect())
        })
        .collect()
}

/// The JSON object in a file.
pub fn json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The request that a trace fixture answers.
pub fn request(name: &str) -> TraceRequest {
    let dir = fixture(name);
    let description = json(&dir.join("fixture.json"));
    let ids: Vec<TokenId> = description["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| TokenId(id.as_u64().unwrap() as u32))
        .collect();
    let objective = &description["objective"];
    let token = |key: &str| TokenId(objective[key].as_u64().unwrap() as u32);
    let objective = match objective["kind"].as_str().unwrap() {
        "target" => Objective::Target(token("target")),
        "completion" => {
            Objective::Completion { start: objective["completion_start"].as_u64().unwrap() as usize }
        }
        "next_token" => Objective::NextToken,
        "logit_difference" => Objective::LogitDifference { token: token("target"), minus: token("minus") },
        other => panic!("{name}: objective {other}"),
    };
    let mut interventions = Interventions::default();
    for head in description["ablate"].as_array().into_iter().flatten() {
        interventions.ablate.insert(Head {
            layer: head["layer"].as_u64().unwrap() as usize,
            head: head["head"].as_u64().unwrap() as usize,
        });
    }
    if let Some(file) = description["patch"]["file"].as_str() {
        let alpha = description["patch"]["alpha"].as_f64().unwrap() as f32;
        let config = Config::from_dir(&dir).unwrap();
        let patch = trace_file::load_patch(&dir.join(file), PatchMap::Reversed, alpha, &config, ids.len());
        interventions.patch = Some(patch.unwrap());
    }
    TraceRequest::new(ids, objective).interventions(interventions)
}
