//! Model directories and configurations that are none.

use crate::harness::{Scratch, trace_fails};
use crate::model_dir::ModelDir;
use serde_json::{Value, json};

const REQUEST: [&str; 4] = ["--ids", "3,1", "--target-id", "2"];

fn fails(model: &str, parts: &[&str]) {
    trace_fails(&[&["--model", model], &REQUEST[..]].concat(), parts);
}

#[test]
fn a_missing_directory() {
    let scratch = Scratch::new();
    let missing = scratch.path("absent");
    fails(&missing, &[&missing, "no such directory"]);
}

#[test]
fn an_empty_directory() {
    let empty = tempfile::tempdir().unwrap();
    let path = empty.path().to_str().unwrap();
    fails(path, &[path, "config.json"]);
}

#[test]
fn a_file_instead_of_a_directory() {
    let scratch = Scratch::new();
    let file = scratch.file("model", b"{}");
    fails(&file, &[&file]);
}

#[test]
fn a_configuration_that_is_not_json() {
    let dir = ModelDir::small();
    for content in ["", "{", "not json", "[1, 2]", "\u{0}\u{1b}[2J"] {
        dir.write("config.json", content.as_bytes());
        fails(dir.path(), &["config.json", "JSON"]);
    }
}

#[test]
fn sizes_that_make_no_model() {
    let cases: [(&str, Value, &[&str]); 16] = [
        ("n_head", json!(2), &["n_head of 2", "n_embd of 33"]),
        ("n_head", json!(0), &["n_head is 0"]),
        ("n_embd", json!(0), &["n_embd is 0"]),
        ("n_layer", json!(0), &["n_layer is 0"]),
        ("vocab_size", json!(0), &["vocab_size is 0"]),
        ("n_positions", json!(-1), &["n_positions is -1"]),
        ("n_layer", json!(-12), &["n_layer is -12"]),
        ("n_embd", json!(1u64 << 60), &["n_embd is 1152921504606846976"]),
        ("n_layer", json!(1_000_000_000), &["n_layer is 1000000000"]),
        ("vocab_size", json!(1e300), &["vocab_size"]),
        ("n_positions", json!("many"), &["n_positions is \"many\""]),
        ("n_embd", json!(33.5), &["n_embd is 33.5"]),
        ("n_inner", json!(0), &["n_inner is 0"]),
        ("n_embd", Value::Null, &["n_embd is missing"]),
        ("layer_norm_epsilon", json!(0), &["layer_norm_epsilon is 0"]),
        ("layer_norm_epsilon", json!("small"), &["layer_norm_epsilon is \"small\""]),
    ];
    for (field, value, parts) in cases {
        let dir = ModelDir::small().set(field, value);
        fails(dir.path(), &[&["config.json"], parts].concat());
    }
}

#[test]
fn architectures_and_activations_that_are_not_supported() {
    let cases = [
        ("model_type", json!("llama"), "'llama'"),
        ("model_type", json!(7), "model_type is 7"),
        ("activation_function", json!("relu"), "activation_function is \"relu\""),
        ("add_cross_attention", json!(true), "add_cross_attention"),
        ("scale_attn_by_inverse_layer_idx", json!(true), "scale_attn_by_inverse_layer_idx"),
        ("scale_attn_weights", json!(false), "scale_attn_weights"),
    ];
    for (field, value, part) in cases {
        let dir = ModelDir::small().set(field, value);
        fails(dir.path(), &["config.json", part]);
    }
}

#[test]
fn tokenizer_files_that_are_damaged() {
    let dir = ModelDir::small();
    dir.write("tokenizer.json", b"{");
    fails(dir.path(), &["tokenizer.json", "JSON"]);
    std::fs::remove_file(dir.file("tokenizer.json")).unwrap();
    dir.write("vocab.json", b"{}");
    fails(dir.path(), &["vocab.json", "merges.txt"]);
}
