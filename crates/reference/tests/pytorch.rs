//! The oracle against PyTorch's float64 autograd: every tensor of every fixture in `tests/fixtures`.

use retrograd_formats::{
    AttentionPatch, Config, Head, Interventions, Objective, Site, TokenId, TraceRequest, Weights,
};
use retrograd_reference::ReferenceModel;
use retrograd_reference::ops::{AdamW, adamw_step, global_norm};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Both sides compute in f64 and differ in the order of their sums. The largest distance seen is 6e-15.
const TOLERANCE: f64 = 1e-12;

/// After ten steps: 3e-13 seen, in the key bias. Its true gradient is 0, and Adam steps along the rounding.
const TRAINED_TOLERANCE: f64 = 1e-10;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Name → values of a safetensors file.
fn tensors(path: &Path) -> BTreeMap<String, Vec<f64>> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |name: &str| -> Vec<f64> {
        let tensor = file.tensor(name).unwrap();
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => data.chunks(8).map(|x| f64::from_le_bytes(x.try_into().unwrap())).collect(),
            Dtype::F32 => {
                data.chunks(4).map(|x| f64::from(f32::from_le_bytes(x.try_into().unwrap()))).collect()
            }
            Dtype::U32 => {
                data.chunks(4).map(|x| f64::from(u32::from_le_bytes(x.try_into().unwrap()))).collect()
            }
            other => panic!("{name} is {other:?}"),
        }
    };
    file.names().into_iter().map(|name| (name.to_string(), values(name))).collect()
}

/// max |a − b| / max |b|; where b is 0 throughout, max |a|.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().all(|x| x.is_finite()));
    let scale = b.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
    let apart = a.iter().zip(b).fold(0.0_f64, |max, (a, b)| max.max((a - b).abs()));
    if scale == 0.0 { apart } else { apart / scale }
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn token(value: &Value) -> TokenId {
    TokenId(number(value) as u32)
}

fn request(dir: &Path, fixture: &Value, n_layer: usize) -> TraceRequest {
    let ids = fixture["ids"].as_array().unwrap().iter().map(token).collect();
    let objective = &fixture["objective"];
    let objective = match objective["kind"].as_str().unwrap() {
        "target" => Objective::Target(token(&objective["target"])),
        "completion" => Objective::Completion { start: number(&objective["completion_start"]) },
        "next_token" => Objective::NextToken,
        "logit_difference" => Objective::LogitDifference {
            token: token(&objective["target"]),
            minus: token(&objective["minus"]),
        },
        other => panic!("objective {other}"),
    };
    let head = |head: &Value| Head { layer: number(&head["layer"]), head: number(&head["head"]) };
    let ablate = fixture["ablate"].as_array().unwrap().iter().map(head).collect::<BTreeSet<_>>();
    let patch = fixture["patch"]["file"].as_str().map(|file| {
        let maps = tensors(&dir.join(file));
        let map = |layer: usize| -> Vec<f32> {
            maps[&format!("transformer.h.{layer}.attn.reversed")].iter().map(|&x| x as f32).collect()
        };
        AttentionPatch {
            alpha: fixture["patch"]["alpha"].as_f64().unwrap() as f32,
            maps: (0..n_layer).map(|layer| (layer, map(layer))).collect(),
            heads: None,
        }
    });
    TraceRequest::new(ids, objective).interventions(Interventions { ablate, patch })
}

/// Compares everything in the fixture and returns the largest distance and where it was.
fn check(dir: &Path) -> (f64, String) {
    let fixture = json(&dir.join("fixture.json"));
    let model = ReferenceModel::load(dir).unwrap();
    let request = request(dir, &fixture, model.config().n_layer);
    let trace = model.trace(&request).unwrap();
    let (_, gradients) = model.weight_gradients(&request).unwrap();

    let expected = tensors(&dir.join("expected.safetensors"));
    let mut worst = (0.0, String::new());
    let mut seen = BTreeSet::new();
    for (name, expected) in &expected {
        let ours = match name.strip_prefix("grad.") {
            Some(parameter) => {
                seen.insert(parameter);
                &gradients[parameter]
            }
            None => trace.get(name.parse::<Site>().unwrap()).unwrap(),
        };
        let off = distance(ours, expected);
        assert!(off <= TOLERANCE, "{}: {name} is {off:e} from PyTorch", dir.display());
        if off > worst.0 {
            worst = (off, name.clone());
        }
    }
    for site in Site::all(model.config().n_layer) {
        assert!(expected.contains_key(&site.to_string()), "the fixture has no {site}");
    }
    if fixture["weight_gradients"] == true {
        assert_eq!(seen.len(), gradients.len(), "gradients that the fixture has");
    }
    worst
}

#[test]
fn every_trace_fixture() {
    let mut names: Vec<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("fixture.json").is_file() && entry.file_name() != "adamw")
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 13, "fixtures are missing; tests/fixtures/README.md says how they are made");
    for name in names {
        let (off, tensor) = check(&fixtures().join(&name));
        println!("{name:20} {off:.1e}  {tensor}");
    }
}

#[test]
fn ten_adamw_steps() {
    let dir = fixtures().join("adamw");
    let (settings, expected) = (json(&dir.join("fixture.json")), tensors(&dir.join("expected.safetensors")));
    let text: Vec<TokenId> =
        tensors(&dir.join("tokens.safetensors"))["tokens"].iter().map(|&id| TokenId(id as u32)).collect();
    let real = |value: &Value| value.as_f64().unwrap();
    let (steps, rows, context) =
        (number(&settings["steps"]), number(&settings["batch"]), number(&settings["context"]));

    let mut model = ReferenceModel::load(&dir).unwrap();
    let config: Config = model.config().clone();
    let mut moments: BTreeMap<String, (Vec<f64>, Vec<f64>)> = model
        .parameters()
        .iter()
        .map(|(name, values)| (name.clone(), (vec![0.0; values.len()], vec![0.0; values.len()])))
        .collect();
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let batch: Vec<_> = (0..rows)
            .map(|row| {
                let sequence = &text[(step * rows + row) * context..][..=context];
                (sequence[..context].to_vec(), sequence[1..].to_vec())
            })
            .collect();
        let (loss, gradients) = model.gradients(&batch).unwrap();
        let norm = global_norm(&gradients.values().map(Vec::as_slice).collect::<Vec<_>>());
        let clip = (real(&settings["clip"]) / (norm + 1e-6)).min(1.0);
        for (name, param) in model.parameters_mut() {
            let gradient: Vec<f64> = gradients[name].iter().map(|g| g * clip).collect();
            let (m, v) = moments.get_mut(name).unwrap();
            let decays = Weights::parameter_shape(&config, name).len() >= 2;
            let options = AdamW {
                lr: expected["lr"][step],
                beta1: real(&settings["betas"][0]),
                beta2: real(&settings["betas"][1]),
                eps: real(&settings["eps"]),
                weight_decay: if decays { real(&settings["weight_decay"]) } else { 0.0 },
                step: step as u32 + 1,
            };
            adamw_step(param, &gradient, m, v, options);
        }
        losses.push(loss);
        norms.push(norm);
    }

    println!("losses {:.1e}", distance(&losses, &expected["loss"]));
    println!("norms  {:.1e}", distance(&norms, &expected["grad_norm"]));
    assert!(distance(&losses, &expected["loss"]) <= TOLERANCE);
    assert!(distance(&norms, &expected["grad_norm"]) <= TOLERANCE);
    let finals = model
        .parameters()
        .iter()
        .map(|(name, values)| (distance(values, &expected[&format!("final.{name}")]), name));
    let (off, name) = finals.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    println!("final weights {off:.1e}  {name}");
    assert!(off <= TRAINED_TOLERANCE, "{name} is {off:e} from PyTorch after {steps} steps");
}
