//! What the commands print and write when all is well.

use crate::harness::{Run, Scratch, command, fixture, retrograd};
use retrograd::formats::trace_file::TraceFile;
use retrograd::{Site, TraceRead};
use std::path::Path;
use std::process::Stdio;

const IDS: [&str; 2] = ["--ids", "81,73,33,71,27"];

fn with_model(command: &str, flags: &[&str]) -> Run {
    let model = fixture("untied");
    retrograd(&[&[command, "--model", &model], &IDS[..], flags].concat())
}

#[test]
fn a_trace_summary() {
    let summary = with_model("trace", &["--next-token", "--json", "--top", "3"]).json();
    assert_eq!(summary["schema"], "retrograd-trace-summary/1");
    assert_eq!(summary["tokens"][0]["id"], 81);
    assert_eq!(summary["predictions"].as_array().unwrap().len(), 4);
    assert_eq!(summary["predictions"][3]["top"].as_array().unwrap().len(), 3);
    assert_eq!(summary["heads"].as_array().unwrap().len(), 10);
    assert_eq!(summary["layers"].as_array().unwrap().len(), 2);
    assert!(summary["loss"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_device_and_the_oracle_agree() {
    let flags = ["--target-id", "7", "--minus-id", "9", "--json", "--ablate", "0.1"];
    let device = with_model("trace", &flags).json();
    let oracle = with_model("trace", &[&["--adapter", "reference"], &flags[..]].concat()).json();
    assert_eq!(oracle["adapter"], "reference");
    assert_ne!(device["adapter"], "reference");
    for number in
        ["/loss", "/heads/0/reversed_norm", "/target/probability", "/layers/0/delta_norms/resid_pre"]
    {
        let (a, b) = (
            device.pointer(number).unwrap().as_f64().unwrap(),
            oracle.pointer(number).unwrap().as_f64().unwrap(),
        );
        assert!((a - b).abs() <= 1e-5 * b.abs(), "{number}: {a} and {b}");
    }
    let silenced = oracle["heads"].as_array().unwrap().last().unwrap();
    assert_eq!((silenced["layer"].as_u64(), silenced["head"].as_u64()), (Some(0), Some(1)));
    assert_eq!(silenced["reversed_norm"], 0.0);
}

#[test]
fn ranked_heads() {
    let ranked = with_model("attention", &["--target-id", "7", "--json", "--adapter", "reference"]).json();
    assert_eq!(ranked["schema"], "retrograd-attention/1");
    let heads = ranked["heads"].as_array().unwrap();
    let norms: Vec<f64> = heads.iter().map(|head| head["reversed_norm"].as_f64().unwrap()).collect();
    assert_eq!(norms.len(), 10);
    assert!(norms.is_sorted_by(|a, b| a >= b));
    assert!(heads.iter().all(|head| head["pattern_norm"].as_f64().unwrap() > 0.0));
    let top =
        with_model("attention", &["--target-id", "7", "--json", "--adapter", "reference", "--top", "2"])
            .json();
    assert_eq!(top["heads"].as_array().unwrap()[..], heads[..2]);
}

#[test]
fn norms_without_maps_rank_the_heads_as_the_maps_do() {
    for adapter in [&[][..], &["--adapter", "reference"]] {
        let flags = [&["--target-id", "7", "--json"][..], adapter].concat();
        let ranked = with_model("attention", &flags).json();
        let norms = with_model("attention", &[&flags[..], &["--norms"]].concat()).json();
        let both = ranked["heads"].as_array().unwrap().iter().zip(norms["heads"].as_array().unwrap());
        for (mapped, alone) in both {
            assert_eq!((&mapped["layer"], &mapped["head"]), (&alone["layer"], &alone["head"]));
            for norm in ["pattern_norm", "reversed_norm"] {
                let (mapped, alone) = (mapped[norm].as_f64().unwrap(), alone[norm].as_f64().unwrap());
                assert!((mapped - alone).abs() <= 1e-6 * mapped, "{norm}: {mapped} {alone}");
            }
        }
    }
    let page = with_model("attention", &["--target-id", "7", "--norms", "--layers", "0"]).succeeds();
    assert!(page.contains("the loss"), "pairs of the layer whose maps were kept:\n{page}");
}

#[test]
fn pages_without_a_terminal_have_no_escape_codes() {
    for page in [
        with_model("trace", &["--target-id", "7", "--adapter", "reference"]),
        with_model("trace", &["--next-token", "--adapter", "reference"]),
        with_model("attention", &["--target-id", "7", "--adapter", "reference"]),
    ] {
        let page = page.succeeds();
        assert!(!page.contains('\u{1b}'), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 110), "{page}");
    }
}

#[test]
fn a_single_token_and_a_partial_capture_make_a_page_too() {
    let model = fixture("untied");
    let page = |flags: &[&str]| {
        retrograd(
            &[&["trace", "--adapter", "reference", "--model", &model, "--target-id", "7"], flags].concat(),
        )
        .succeeds()
    };
    assert!(page(&["--ids", "3"]).contains("R is zero everywhere"));
    let little = page(&["--ids", "3,1", "--sites", "mlp.c_proj.delta", "--layers", "1"]);
    assert!(!little.contains("Reversed Attention") && little.contains("Backward signal"), "{little}");
}

#[test]
fn a_trace_file_holds_what_was_asked_for() {
    let scratch = Scratch::new();
    let path = scratch.path("trace.safetensors");
    with_model("trace", &["--target-id", "7", "--out", &path, "--adapter", "reference"]).succeeds();
    let trace = TraceFile::open(Path::new(&path)).unwrap();
    assert_eq!(trace.sites(), Site::all(2));
    let flags = ["--target-id", "7", "--out", &path, "--sites", "attn.*", "--layers", "1", "--json"];
    let summary = with_model("trace", &flags).json();
    let trace = TraceFile::open(Path::new(&path)).unwrap();
    assert_eq!(trace.sites().len(), 2 + 6);
    assert_eq!(summary["heads"].as_array().unwrap().len(), 5);
    assert_eq!(scratch.names().len(), 1);

    // What was written patches a later pass.
    let loss = |flags: &[&str]| {
        let usual = ["--target-id", "7", "--json", "--adapter", "reference"];
        with_model("trace", &[&usual, flags].concat()).json()["loss"].as_f64().unwrap()
    };
    let patched = |alpha: &str| loss(&["--patch", &path, "--alpha", alpha]);
    // The oracle's own loss: the device's is rounded elsewhere.
    assert_eq!(patched("0"), loss(&[]));
    assert!(patched("-1") < patched("0") && patched("0") < patched("1"));
}

#[test]
fn generated_tokens() {
    let greedy =
        |flags: &[&str]| with_model("generate", &[&["--json", "--max-tokens", "6"], flags].concat()).json();
    let document = greedy(&[]);
    assert_eq!(document["schema"], "retrograd-generate/1");
    assert_eq!(document["tokens"].as_array().unwrap().len(), 5);
    assert!(document["generated"].as_array().unwrap().len() <= 6);
    assert_eq!(document, greedy(&[]));
    let drawn = ["--temperature", "3", "--seed", "4"];
    assert_eq!(greedy(&drawn), greedy(&drawn));
}

#[test]
fn the_doctor_finds_the_device_well() {
    let diagnosis = retrograd(&["doctor", "--json"]).json();
    assert_eq!(diagnosis["schema"], "retrograd-doctor/1");
    assert_eq!(diagnosis["self_test"]["passed"], true);
    assert!(!diagnosis["adapters"].as_array().unwrap().is_empty());
}

#[test]
fn every_shader_is_written_as_it_is_compiled() {
    let scratch = Scratch::new();
    let out = scratch.path("shaders");
    retrograd(&["doctor", "--json", "--dump-shaders", &out]).json();
    let names: Vec<String> =
        std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for kernel in ["gemm", "layer_norm_backward", "reversed_attention", "attention_decode", "adamw"] {
        let written = names.iter().any(|name| name.starts_with(kernel) && name.ends_with(".wgsl"));
        assert!(written, "no {kernel}: {names:?}");
    }
}

#[test]
fn the_shipped_model_is_found_from_anywhere_and_knows_its_facts() {
    let run = |args: &[&str]| {
        let elsewhere = Scratch::new();
        Run::of(command(args).current_dir(elsewhere.path("")).output().unwrap())
    };
    let prompt = "The capital of France is";
    let summary = run(&["trace", prompt, "--target", " Paris", "--json", "--adapter", "reference"]).json();
    assert_eq!(summary["answer"]["text"], " Paris");
    assert_eq!(summary["target"]["rank"], 0);
    assert_eq!(summary["prompt"], prompt);
    run(&["trace", prompt, "--target", "Paris"]).fails(&["'Paris'", "' Paris'", "one token"]);
    run(&["trace", prompt, "--completion", ""]).fails(&["--completion", "empty"]);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let model = fixture("untied");
    let args = [&["trace", "--model", &model, "--adapter", "reference", "--next-token", "--json"], &IDS[..]]
        .concat();
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}

#[test]
fn help_and_version() {
    for command in
        ["trace", "attention", "lens", "edit", "generate", "train", "tokenizer", "verify", "bench", "doctor"]
    {
        let help = retrograd(&[command, "--help"]).succeeds();
        assert!(help.contains("Usage: retrograd"), "{help}");
    }
    assert!(retrograd(&["--version"]).succeeds().starts_with("retrograd "));
}
