//! Edited logits against PyTorch's, and the weights back as they were.
//!
//! An f32 result is right when its error against f64 is of the size of PyTorch-f32's own: at most 4 times that,
//! or 2e-6 where PyTorch happened to do better than f32 rounding lets one expect.

use retrograd_formats::{
    BlockSite, HostTensor, Interventions, Layer, LinearLayer, Objective, Site, TokenId, TraceRead,
    TraceRequest,
};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_lens::edit::{EditPlan, Fact, Method, apply, parse_params};
use retrograd_model::{Gpt2, Precision};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::OnceLock;

const FLOOR: f64 = 2e-6;

fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap()).clone()
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures")).join(name)
}

fn load(name: &str, precision: Precision) -> Gpt2 {
    Gpt2::load(&gpu(), fixture(name), precision).unwrap()
}

fn cases() -> Vec<Value> {
    let text = std::fs::read(fixture("edits/cases.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap().as_array().unwrap().clone()
}

fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().unwrap().iter().map(|id| TokenId(id.as_u64().unwrap() as u32)).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn case_plan(case: &Value, model: &Gpt2) -> EditPlan {
    let eta = case["eta"].as_f64().unwrap() as f32;
    let plan = match case["method"].as_str().unwrap() {
        "shift" => EditPlan::shift(case["layer"].as_u64().unwrap() as usize, eta),
        _ => {
            let names: Vec<String> =
                case["params"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect();
            let layers = parse_params(&names, model.config(), None).unwrap();
            let biases = case["biases"].as_bool().unwrap();
            EditPlan { method: Method::Sgd { layers, biases }, ..EditPlan::sgd(Vec::new(), eta) }
        }
    };
    EditPlan { steps: case["steps"].as_u64().unwrap() as usize, force: true, ..plan }
}

fn case_fact(case: &Value) -> Fact {
    Fact { prompt: ids(&case["prompt"]), target: ids(&case["target"]) }
}

fn logits(model: &Gpt2, fact: &Fact) -> Vec<f32> {
    model.logits(&fact.prompt, &Interventions::default()).unwrap()
}

fn relative_error(values: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(values.len(), reference.len());
    let scale = reference.iter().fold(0.0_f64, |scale, r| scale.max(r.abs()));
    let errors = values.iter().zip(reference).map(|(v, r)| (f64::from(*v) - r).abs());
    errors.fold(0.0, |worst, error| if error.is_nan() { f64::INFINITY } else { error.max(worst) }) / scale
}

#[test]
fn edited_logits_are_those_of_pytorch_and_every_bit_comes_back() {
    let expected = std::fs::read(fixture("edits/expected.safetensors")).unwrap();
    let expected = safetensors::SafeTensors::deserialize(&expected).unwrap();
    let expected = |name: String| -> Vec<f64> {
        let words = expected.tensor(&name).unwrap().data().to_vec();
        words.chunks_exact(8).map(|word| f64::from_le_bytes(word.try_into().unwrap())).collect()
    };
    let mut failures = Vec::new();
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        let model = load(case["model"].as_str().unwrap(), Precision::F32);
        let (fact, plan) = (case_fact(&case), case_plan(&case, &model));
        let untouched = logits(&model, &fact);
        assert!(relative_error(&untouched, &expected(format!("{name}.before"))) < FLOOR, "{name}: before");

        let mut edit = model.edit().unwrap();
        let outcome = apply(&mut edit, &fact, &plan).unwrap();
        let backward = if plan.method.name() == "shift" { 0 } else { plan.steps };
        let passes = (outcome.cost.forward_passes, outcome.cost.backward_passes);
        assert_eq!((outcome.steps, passes), (plan.steps, (plan.steps, backward)), "{name}");
        let error = relative_error(&logits(&model, &fact), &expected(format!("{name}.logits")));
        let torch = case["torch_f32_error"].as_f64().unwrap();
        println!("{name}: {error:.1e}, PyTorch-f32 {torch:.1e}");
        if error > (4.0 * torch).max(FLOOR) {
            failures.push(format!("{name}: {error:.2e}, PyTorch-f32 {torch:.2e}"));
        }
        for (effect, p) in [&outcome.before, &outcome.after].into_iter().zip(floats(&case["probability"])) {
            assert!((effect.target_probability - p).abs() < 1e-5, "{name}");
        }

        // ‖ΔW‖ of the same weights, and no others.
        let norms = case["norms"].as_object().unwrap();
        let changes = edit.changes().unwrap();
        assert_eq!(changes.len(), norms.len(), "{name}");
        for change in changes {
            // A difference of two f32 matrices: rounding of W counts against a small ΔW.
            let norm = norms[&change.name].as_f64().unwrap();
            let off = (change.norm / norm - 1.0).abs();
            assert!(off < 1e-4, "{name} {}: {} and {norm}", change.name, change.norm);
        }

        edit.restore().unwrap();
        assert!(edit.changes().unwrap().is_empty());
        assert_eq!(logits(&model, &fact), untouched, "{name}: restored");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn dropping_restores_and_keeping_keeps() {
    let model = load("three_layers", Precision::F32);
    let fact = Fact { prompt: [288, 610, 667].map(TokenId).to_vec(), target: vec![TokenId(832)] };
    let untouched = logits(&model, &fact);
    let mut edit = model.edit().unwrap();
    assert!(model.edit().err().unwrap().to_string().contains("is being edited"));
    apply(&mut edit, &fact, &EditPlan::shift(0, 0.1)).unwrap();
    let edited = logits(&model, &fact);
    assert_ne!(edited, untouched);
    drop(edit);
    assert_eq!(logits(&model, &fact), untouched);

    let mut edit = model.edit().unwrap();
    apply(&mut edit, &fact, &EditPlan::shift(0, 0.1)).unwrap();
    edit.keep();
    assert_eq!(logits(&model, &fact), edited);
    assert!(model.edit().is_ok());
}

#[test]
fn f16_matrices_are_edited_in_f32_and_come_back() {
    for name in ["shift_1", "sgd_mlp_3", "sgd_all_biases_3"] {
        let case = cases().into_iter().find(|case| case["name"] == name).unwrap();
        let model = load(case["model"].as_str().unwrap(), Precision::F16);
        let (fact, plan) = (case_fact(&case), case_plan(&case, &model));
        let untouched = logits(&model, &fact);
        let mut edit = model.edit().unwrap();
        let outcome = apply(&mut edit, &fact, &plan).unwrap();
        // f16 has eleven bits: the logits are within about a hundredth, and so is the logarithm of p.
        let off = (outcome.after.target_probability / floats(&case["probability"])[1]).ln().abs();
        assert!(off < 0.05, "{name}: {}", outcome.after.target_probability);
        let changed = edit.changed_weights().unwrap();
        assert_eq!(changed.len(), case["norms"].as_object().unwrap().len(), "{name}");
        for weight in changed {
            assert!(weight.before != weight.after, "{name}: {}", weight.name);
        }
        edit.restore().unwrap();
        assert_eq!(logits(&model, &fact), untouched, "{name}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (model, other) = (load("three_layers", Precision::F32), load("one_token", Precision::F32));
    let fact = Fact { prompt: [288, 610, 667].map(TokenId).to_vec(), target: vec![TokenId(832)] };
    let untouched = logits(&model, &fact);
    let mut edit = model.edit().unwrap();
    let mut fails = |plan: EditPlan, part: &str| {
        let error = apply(&mut edit, &fact, &plan).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    fails(EditPlan::shift(3, 0.1), "0 to 2");
    fails(EditPlan::shift(0, f32::NAN), "NaN is not a finite number");
    fails(EditPlan::shift(0, f32::INFINITY), "inf is not a finite number");
    fails(EditPlan { steps: 0, ..EditPlan::shift(0, 0.1) }, "at least 1");
    fails(EditPlan::sgd(Vec::new(), 0.1), "no linear layer");
    fails(EditPlan::sgd(vec![LinearLayer::LmHead], 0.1), "lm_head");
    fails(EditPlan::shift(0, 3e38), "too large");
    edit.restore().unwrap();

    let layer: LinearLayer = "transformer.h.0.mlp.c_proj".parse().unwrap();
    let row = |width: usize| HostTensor::f32([1, width], vec![0.1; width]);
    assert!(edit.add(layer, &row(79), &row(20), 0.1).unwrap_err().to_string().contains("[1, 80]"));
    assert!(edit.add(LinearLayer::LmHead, &row(20), &row(20), 0.1).is_err());
    let nan = HostTensor::f32([1, 20], vec![f32::NAN; 20]);
    assert!(edit.add(layer, &row(80), &nan, 0.1).unwrap_err().to_string().contains("finite"));
    let request = TraceRequest::new(vec![TokenId(1)], Objective::Target(TokenId(2)));
    let trace = other.trace(&request).unwrap();
    assert!(edit.descend(&trace, &[layer], 0.1, false).unwrap_err().to_string().contains("another model"));
    assert_eq!(logits(&model, &fact), untouched);
}

#[test]
fn success_ends_it_and_a_known_answer_needs_force() {
    let model = load("one_head", Precision::F32);
    let fact = Fact { prompt: [3, 1, 4].map(TokenId).to_vec(), target: vec![TokenId(59)] };
    let mut edit = model.edit().unwrap();
    let plan = EditPlan { steps: 50, stop_on_success: true, ..EditPlan::shift(0, 0.1) };
    let outcome = apply(&mut edit, &fact, &plan).unwrap();
    assert!(outcome.after.is_success() && outcome.steps < 50, "{} steps", outcome.steps);
    // The pass that finds the success out is counted.
    assert_eq!(outcome.cost.forward_passes, outcome.steps + 1);

    let again = apply(&mut edit, &fact, &plan).unwrap();
    assert_eq!((again.steps, again.before == again.after), (0, true));
    let forced = apply(&mut edit, &fact, &EditPlan { steps: 1, force: true, ..plan }).unwrap();
    assert_eq!(forced.steps, 1);
    assert!(forced.after.target_probability > forced.before.target_probability);
}

#[test]
fn forward_passes_read_what_a_trace_reads() {
    let model = load("three_layers", Precision::F32);
    let tokens = [288, 610, 667, 25].map(TokenId).to_vec();
    let forward = [
        BlockSite::Pattern,
        BlockSite::CAttnInput,
        BlockSite::AttnProjInput,
        BlockSite::FcInput,
        BlockSite::MlpProjInput,
        BlockSite::ResidPre,
        BlockSite::ResidMid,
        BlockSite::ResidPost,
    ];
    let mut sites: Vec<Site> =
        (0..3).flat_map(|layer| forward.map(|site| Site::Block(Layer(layer), site))).collect();
    sites.extend([Site::Logits, Site::LnFInput, Site::LmHeadInput]);
    let request = TraceRequest::new(tokens.clone(), Objective::Target(TokenId(2)));
    let trace = model.trace(&request).unwrap();
    assert_eq!(model.observe(&tokens, &sites).unwrap(), trace.read_all(&sites).unwrap());
    assert_eq!(model.loss(&request).unwrap(), trace.loss().unwrap());
    // Each on its own: what was not asked for shares its memory.
    for site in &sites {
        assert_eq!(model.observe(&tokens, &[*site]).unwrap(), [trace.read(*site).unwrap()], "{site}");
    }
    assert_eq!(model.logits_from(&tokens, 0).unwrap().shape, [4, 1031]);
    let backward = Site::Block(Layer(0), BlockSite::FcDelta);
    for site in [backward, Site::Loss, Site::Block(Layer(3), BlockSite::ResidPre)] {
        assert!(model.observe(&tokens, &[site]).is_err(), "{site}");
    }
}
