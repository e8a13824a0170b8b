//! Against `tests/fixtures/*/flow.json` (see `tests/fixtures/flow.py`): nodes, links, weights, readings, gradients.

use crate::gpu;
use retrograd::formats::trace_file::load_patch;
use retrograd::lens::{FlowFactors, FlowOptions, FlowReport, LinkKind, flow, flow_capture};
use retrograd::reference::ReferenceModel;
use retrograd::{
    Capture, Gpt2, Head, Interventions, Objective, ParameterRead, PatchMap, Precision, TokenId, TraceRead,
    TraceRequest,
};
use serde_json::Value;
use std::path::PathBuf;

const FOLDERS: [&str; 7] =
    ["flow_twelve_heads", "one_head", "next_token_9", "three_layers", "untied", "ablated", "patched"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures")).join(name)
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn token(value: &Value) -> TokenId {
    TokenId(value.as_u64().unwrap() as u32)
}

fn objective(value: &Value) -> Objective {
    match value["kind"].as_str().unwrap() {
        "target" => Objective::Target(token(&value["targets"][0])),
        "completion" => Objective::Completion { start: number(&value["positions"][0]) + 1 },
        "next_token" => Objective::NextToken,
        "logit_difference" => {
            Objective::LogitDifference { token: token(&value["targets"][0]), minus: token(&value["minus"]) }
        }
        other => panic!("{other}"),
    }
}

fn options(case: &Value) -> FlowOptions {
    let given = &case["options"];
    let mut options = FlowOptions { top: 3, ..FlowOptions::default() };
    let pair = |value: &Value| (number(&value[0]), number(&value[1]));
    options.position = given.get("position").map(number);
    options.layers =
        given.get("layers").map(|layers| layers.as_array().unwrap().iter().map(number).collect());
    if let Some(heads) = given.get("heads") {
        options.counts.heads = heads.as_u64().map(|heads| heads as usize);
    }
    if let Some(keys) = given.get("keys") {
        options.counts.keys = number(keys);
    }
    if let Some(rows) = given.get("rows") {
        (options.counts.rows_top, options.counts.rows_bottom) = pair(rows);
    }
    if let Some(neurons) = given.get("neurons") {
        (options.counts.neurons_top, options.counts.neurons_bottom) = pair(neurons);
    }
    let mut factors = FlowFactors::default();
    for (name, value) in given.get("factors").and_then(Value::as_object).into_iter().flatten() {
        factors.set(&format!("{name}={value}")).unwrap();
    }
    options.factors = factors;
    options
}

/// What the folder's fixture changes in the forward pass.
fn interventions(name: &str, model: &dyn ParameterRead, tokens: usize) -> Interventions {
    let path = folder(name).join("fixture.json");
    let mut interventions = Interventions::default();
    if !path.exists() {
        return interventions;
    }
    let fixture = json(path);
    for head in fixture["ablate"].as_array().unwrap() {
        interventions.ablate.insert(Head { layer: number(&head["layer"]), head: number(&head["head"]) });
    }
    if let Some(alpha) = fixture["patch"]["alpha"].as_f64() {
        let file = folder(name).join("patch.safetensors");
        let patch = load_patch(&file, PatchMap::Reversed, alpha as f32, model.config(), tokens);
        interventions.patch = Some(patch.unwrap());
    }
    interventions
}

/// `tolerance` is relative; what is small beside the largest of its kind in the graph has that much of the largest.
fn check(what: &str, report: &FlowReport, case: &Value, tolerance: f64) {
    let (nodes, links) = (case["nodes"].as_object().unwrap(), case["links"].as_object().unwrap());
    let mut found: Vec<&str> = report.nodes.iter().map(|node| node.id.as_str()).collect();
    found.sort_unstable();
    let mut wanted: Vec<&str> = nodes.keys().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "nodes of {what}");
    let largest = |at: usize| {
        nodes.values().filter_map(|node| node[at].as_f64()).fold(0.0, |most: f64, x| most.max(x.abs()))
    };
    let scales: Vec<f64> = (0..8).map(largest).collect();
    for node in &report.nodes {
        let wanted = &nodes[&node.id];
        let gradient = node.gradient.unwrap();
        let numbers = [
            (0, Some(node.norm), wanted[0].as_f64().unwrap_or(0.0)),
            (1, Some(gradient.norm), scales[1]),
            (2, Some(gradient.inner), scales[2]),
            (3, node.activation, scales[3]),
            (6, node.target_probability, wanted[6].as_f64().unwrap_or(0.0)),
            (7, node.entropy_bits, 1.0),
        ];
        for (at, value, scale) in numbers {
            let id = &node.id;
            match (value, wanted[at].as_f64()) {
                (None, None) => {}
                (Some(value), Some(wanted)) => assert!(
                    (value - wanted).abs() <= tolerance * scale.max(wanted.abs()),
                    "{id} of {what}, number {at}: {value} for {wanted}"
                ),
                (value, wanted) => panic!("{id} of {what}, number {at}: {value:?} for {wanted:?}"),
            }
        }
        if let Some(rank) = node.target_rank {
            assert!((number(&wanted[4])..=number(&wanted[5])).contains(&rank), "rank {rank} of {}", node.id);
            // Where the first two are as good as equal, either may come first.
            let close = |list: &[retrograd::lens::Prediction]| {
                (list[0].probability / list[1].probability - 1.0).abs() < 1e-4
            };
            for (at, list) in [(8, &node.top), (9, &node.bottom)] {
                assert!(
                    list[0].token.id as usize == number(&wanted[at]) || close(list),
                    "{} reads as {:?}",
                    node.id,
                    list[0]
                );
            }
        }
    }
    assert_eq!(report.links.len(), links.len(), "links of {what}");
    for link in &report.links {
        let name = format!("{} {}", link.source, link.target);
        let wanted = links.get(&name).unwrap_or_else(|| panic!("{what} has no link {name}"));
        assert_eq!(serde_json::to_value(link.kind).unwrap(), wanted[0], "kind of {name}");
        let close = |found: f64, wanted: f64, scale: f64| (found - wanted).abs() <= tolerance * scale;
        let weight = wanted[1].as_f64().unwrap();
        assert!(
            close(link.weight, weight, weight.max(1e-3)),
            "{name} of {what}: {} for {weight}",
            link.weight
        );
        assert_eq!(link.attention.is_some(), wanted[2].is_number(), "{name}");
        if let (Some(a), Some(r)) = (link.attention, link.reversed) {
            assert!(close(a, wanted[2].as_f64().unwrap(), 1.0), "A of {name}");
            assert!(close(r, wanted[3].as_f64().unwrap(), scales[1]), "R of {name}");
        }
    }
}

fn compare(
    name: &str,
    model: &dyn ParameterRead,
    trace: &dyn Fn(TraceRequest) -> Box<dyn TraceRead>,
    tolerance: f64,
) {
    for case in json(folder(name).join("flow.json")).as_array().unwrap() {
        let ids: Vec<TokenId> = case["ids"].as_array().unwrap().iter().map(token).collect();
        let mut options = options(case);
        options.interventions = interventions(name, model, ids.len());
        // Nothing but what is said to be needed is there.
        let capture = Capture::only(flow_capture(&options, model.config()).unwrap());
        let request = TraceRequest::new(ids, objective(&case["objective"]))
            .capture(capture)
            .interventions(options.interventions.clone());
        let report = flow(trace(request).as_ref(), model, &options, None).unwrap();
        check(&format!("{name} {}", case["options"]), &report, case, tolerance);
    }
}

#[test]
fn the_oracles_graph_is_pytorchs() {
    for name in FOLDERS {
        let model = ReferenceModel::load(&folder(name)).unwrap();
        // Activations are rounded to f32 between trace and graph.
        compare(name, &model, &|request| Box::new(model.trace(&request).unwrap()), 2e-5);
    }
}

#[test]
fn the_devices_graph_is_pytorchs() {
    for name in FOLDERS {
        let model = Gpt2::load(gpu(), folder(name), Precision::F32).unwrap();
        compare(name, &model, &|request| Box::new(model.trace(&request).unwrap()), 1e-4);
    }
}

#[test]
fn twelve_heads_make_the_papers_graph() {
    let model = ReferenceModel::load(&folder("flow_twelve_heads")).unwrap();
    let ids = vec![TokenId(17), TokenId(4), TokenId(99)];
    let trace = model.trace(&TraceRequest::new(ids, Objective::Target(TokenId(3)))).unwrap();
    let one = FlowOptions { layers: Some(vec![1]), ..FlowOptions::default() };
    let report = flow(&trace, &model, &one, None).unwrap();
    assert_eq!((report.nodes.len(), report.links.len()), (147, 217));
    let both = flow(&trace, &model, &FlowOptions::default(), None).unwrap();
    assert_eq!((both.nodes.len(), both.links.len()), (2 * 147, 2 * 217 + 1));
}

#[test]
fn nodes_have_places_of_their_own() {
    let model = ReferenceModel::load(&folder("flow_twelve_heads")).unwrap();
    let ids = vec![TokenId(17), TokenId(4), TokenId(99)];
    let trace = model.trace(&TraceRequest::new(ids, Objective::Target(TokenId(3)))).unwrap();
    let report = flow(&trace, &model, &FlowOptions::default(), None).unwrap();
    let place =
        |id: &str| report.nodes.iter().find(|node| node.id == id).map(|node| (node.x, node.y)).unwrap();
    for link in report.links.iter().filter(|link| link.kind != LinkKind::Stream) {
        assert!(place(&link.source).0 < place(&link.target).0, "{} {}", link.source, link.target);
    }
    for (at, node) in report.nodes.iter().enumerate() {
        for other in &report.nodes[at + 1..] {
            let apart = (node.x - other.x).abs().max((node.y - other.y).abs());
            assert!(apart >= 11.9, "{} and {}", node.id, other.id);
        }
    }
}

#[test]
fn a_forward_graph_needs_no_backward_tensors() {
    let model = ReferenceModel::load(&folder("untied")).unwrap();
    let options = FlowOptions { gradient: false, ..FlowOptions::default() };
    let sites = flow_capture(&options, model.config()).unwrap();
    assert!(
        sites
            .iter()
            .all(|site| !site.to_string().ends_with("delta") && !site.to_string().ends_with("reversed"))
    );
    let request = TraceRequest::new(vec![TokenId(81), TokenId(73)], Objective::Target(TokenId(7)));
    let trace = model.trace(&request.capture(Capture::only(sites))).unwrap();
    let report = flow(&trace, &model, &options, None).unwrap();
    assert!(report.nodes.iter().all(|node| node.gradient.is_none()));
    assert!(report.links.iter().all(|link| link.reversed.is_none()));
    // With the gradient, something is missing, and the error says what.
    let error = flow(&trace, &model, &FlowOptions::default(), None).unwrap_err();
    assert!(error.to_string().contains("attn.reversed"), "{error}");
}
