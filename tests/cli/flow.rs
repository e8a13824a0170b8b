//! `retrograd flow`, and `--html` of it, `attention` and `lens`.

use crate::harness::{Run, Scratch, fixture, retrograd};

fn flow(flags: &[&str]) -> Run {
    let model = fixture("untied");
    retrograd(&[&["flow", "--model", &model, "--ids", "81,73,33,71,27"], flags].concat())
}

#[test]
fn a_document_as_the_design_has_it() {
    let graph = flow(&["--target-id", "7", "--json", "--top", "3"]).json();
    assert_eq!(graph["schema"], "retrograd-flow/1");
    assert_eq!((graph["position"].as_u64(), graph["tokens"][0]["id"].as_u64()), (Some(4), Some(81)));
    assert_eq!(graph["target"]["id"], 7);
    let nodes = graph["nodes"].as_array().unwrap();
    let ids: std::collections::HashSet<&str> =
        nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), nodes.len());
    for key in [
        "kind",
        "layer",
        "label",
        "norm",
        "top",
        "bottom",
        "target_rank",
        "target_probability",
        "entropy_bits",
    ] {
        assert!(nodes.iter().all(|node| node.get(key).is_some()), "{key}");
    }
    assert_eq!(nodes[0]["top"].as_array().unwrap().len(), 3);
    for link in graph["links"].as_array().unwrap() {
        assert!(
            ids.contains(link["source"].as_str().unwrap()) && ids.contains(link["target"].as_str().unwrap())
        );
        assert!(link["weight"].as_f64().unwrap() >= 0.0);
    }
    // The last stream reads as the model answers.
    assert_eq!(nodes.last().unwrap()["top"][0], graph["answer"]);
}

#[test]
fn without_an_objective_the_target_is_the_answer() {
    for adapter in [&[][..], &["--adapter", "reference"]] {
        let graph = flow(&[&["--json"], adapter].concat()).json();
        assert_eq!(graph["target"]["rank"], 0);
        assert_eq!(graph["target"]["id"], graph["answer"]["id"]);
    }
}

#[test]
fn counts_factors_layers_and_position() {
    let graph = flow(&[
        "--layers",
        "1",
        "--position",
        "2",
        "--heads",
        "-1",
        "--keys",
        "3",
        "--rows",
        "2,1",
        "--neurons",
        "1,0",
        "--factor",
        "attention=3",
        "--factor",
        "into-neuron=1.5",
        "--no-gradient",
        "--json",
    ])
    .json();
    let kinds =
        |kind: &str| graph["nodes"].as_array().unwrap().iter().filter(|node| node["kind"] == kind).count();
    assert_eq!([kinds("query"), kinds("key"), kinds("projection_row"), kinds("neuron_value")], [5, 15, 3, 1]);
    assert!(graph["nodes"].as_array().unwrap().iter().all(|node| node.get("gradient").is_none()));
    assert_eq!((graph["factors"]["attention"].as_f64(), graph["position"].as_u64()), (Some(3.0), Some(2)));
    let into = graph["links"].as_array().unwrap().iter().find(|link| link["kind"] == "into_neuron").unwrap();
    assert_eq!(into["weight"], 1.5);
}

#[test]
fn a_page_of_text() {
    let page = retrograd(&["flow", "The capital of France is", "--target", " Paris"]).succeeds();
    for part in ["Layer 0", "Layer 3", "attention", "MLP", "neuron", "head", "on loss", "' Paris'"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.lines().all(|line| line.chars().count() <= 110), "{page}");
}

#[test]
fn bad_input() {
    for (flags, parts) in [
        (&["--layers", "2"][..], &["--layers", "2 is not a layer", "0 to 1"][..]),
        (&["--position", "5"], &["--position", "5 is not a position", "0 to 4"]),
        (&["--position", "-1"], &["--position", "'-1'"]),
        (&["--heads", "many"], &["--heads", "'many'", "-1 for all"]),
        (&["--heads", "-2"], &["--heads", "'-2'"]),
        (&["--rows", "5"], &["--rows", "'5'", "18,7"]),
        (&["--neurons", "5,x"], &["--neurons", "'5,x'"]),
        (&["--factor", "attention"], &["--factor", "NAME=VALUE"]),
        (&["--factor", "atention=1"], &["--factor", "'atention'", "between-biases"]),
        (&["--factor", "value=nan"], &["--factor", "'nan'"]),
        (&["--sites", "resid_post"], &["--sites", "--layers"]),
        (&["--top", "0"], &["--top", "1 to 257"]),
        (&["--top", "258"], &["--top", "258"]),
        (&["--target-id", "257"], &["--target-id", "0 to 256"]),
        (&["--html", "/absent/page.html"], &["/absent/page.html", "no directory"]),
    ] {
        flow(flags).fails(parts);
    }
    flow(&["--views", "flow"]).fails_as_usage(&["required arguments"]);
    retrograd(&["flow"]).fails_with(2, &["no prompt"]);
}

#[test]
fn pages_hold_everything_and_ask_for_nothing() {
    for (command, more) in [
        ("flow", &["--layers", "1"][..]),
        ("attention", &["--target-id", "7"]),
        ("lens", &["--target-id", "7", "--sites", "resid_post"]),
    ] {
        let scratch = Scratch::new();
        let html = scratch.path("page.html");
        let model = fixture("untied");
        let base = [command, "--model", &model, "--ids", "81,73,33,71,27", "--html", &html, "--with-trace"];
        let page = retrograd(&[&base, more].concat()).succeeds();
        assert!(page.contains("wrote") && page.contains("page.html"), "{page}");
        assert_eq!(
            scratch.names().iter().map(|name| name.to_str().unwrap()).collect::<Vec<_>>(),
            ["page.html", "page.safetensors"]
        );
        let text = std::fs::read_to_string(&html).unwrap();
        assert!(text.starts_with("<!doctype html>") && text.contains("connect-src 'none'"));
        assert!(!text.contains("src=\"http") && !text.contains("href=\"http"));
    }
    let scratch = Scratch::new();
    let html = scratch.path("page.html");
    let model = fixture("untied");
    let base = ["attention", "--model", &model, "--ids", "81,73", "--target-id", "7", "--html", &html];
    retrograd(&[&base[..], &["--sites", "attn.*"]].concat()).fails(&["--sites", "--views"]);
    retrograd(&[&base[..], &["--exact", "2.0"]].concat()).fails(&["head 2.0", "layers 0 to 1"]);
    flow(&["--html", &html, "--views", "flow,maps"]).fails(&[
        "--views",
        "'maps'",
        "overview, heads, lens, flow",
    ]);
    assert!(scratch.names().is_empty());
}
