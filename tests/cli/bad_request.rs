//! Tokens, objectives, captures, interventions and flags that do not fit the model.

use crate::harness::{Scratch, fixture, retrograd, trace_fails, trace_fails_with};

/// 131 tokens in the vocabulary, 16 positions, one layer, one head, no tokenizer.
fn fails(args: &[&str], parts: &[&str]) {
    let model = fixture("one_head");
    trace_fails(&[&["--model", &model], args].concat(), parts);
}

#[test]
fn token_ids() {
    let target = ["--target-id", "2"];
    let cases: [(&str, &[&str]); 9] = [
        ("131", &["131", "vocabulary of 131"]),
        ("1,4294967295", &["4294967295", "position 1"]),
        ("4294967296", &["--ids", "4294967296"]),
        ("-1", &["--ids", "'-1'"]),
        ("3,-1", &["--ids", "'-1'"]),
        ("", &["--ids", "empty"]),
        ("3,,1", &["--ids", "''"]),
        ("three", &["--ids", "'three'"]),
        ("1.5", &["--ids", "'1.5'"]),
    ];
    for (ids, parts) in cases {
        fails(&[&["--ids", ids], &target[..]].concat(), parts);
    }
}

#[test]
fn targets() {
    for target in ["131", "4294967296", "-1", "two", "", "1.5"] {
        fails(
            &["--ids", "3,1", &format!("--target-id={target}")],
            &["--target-id", &format!("'{target}'"), "0 to 130"],
        );
    }
    fails(&["--ids", "3,1", "--target-id", "2", "--minus-id", "500"], &["--minus-id", "'500'"]);
}

#[test]
fn more_tokens_than_positions() {
    let ids = vec!["1"; 17].join(",");
    fails(&["--ids", &ids, "--target-id", "2"], &["17", "n_positions of 16"]);
}

#[test]
fn texts_without_a_tokenizer() {
    let model = fixture("one_head");
    fails(&["Hello", "--target-id", "2"], &["prompt", &model, "--ids"]);
    fails(&["--ids", "1", "--target", " x"], &["--target", &model, "--target-id"]);
    fails(&["--ids", "1", "--target-id", "2", "--minus", " x"], &["--minus", &model, "--minus-id"]);
    fails(&["--ids", "1", "--completion", " x"], &["--completion", &model]);
}

#[test]
fn no_objective_and_no_prompt() {
    let model = fixture("one_head");
    let flags = ["--target", "--target-id", "--completion", "--next-token"];
    trace_fails_with(2, &["--model", &model, "--ids", "3,1"], &flags);
    trace_fails_with(2, &["--model", &model, "--ids", "3,1", "--minus-id", "4"], &flags);
    trace_fails_with(2, &["--model", &model, "--target-id", "1"], &["no prompt", "--ids"]);
}

#[test]
fn a_next_token_loss_of_one_token() {
    fails(&["--ids", "3", "--next-token"], &["next-token", "two tokens"]);
}

#[test]
fn layers_and_sites() {
    let with = |flags: [&str; 2], parts: &[&str]| {
        fails(&[&["--ids", "3,1", "--target-id", "2"], &flags[..]].concat(), parts);
    };
    with(["--layers", "1"], &["--layers", "1 is not a layer", "0 to 0"]);
    with(["--layers", "-1"], &["--layers", "'-1'"]);
    with(["--layers", "x"], &["--layers", "'x'"]);
    with(["--sites", "attn.revered"], &["--sites", "'attn.revered'"]);
    with(["--sites", ""], &["--sites"]);
}

#[test]
fn interventions() {
    let with = |flags: &[&str], parts: &[&str]| {
        fails(&[&["--ids", "3,1", "--target-id", "2"], flags].concat(), parts);
    };
    with(&["--ablate", "0.5"], &["head 0.5", "heads 0 to 0"]);
    with(&["--ablate", "0"], &["'0'", "LAYER.HEAD"]);
    let scratch = Scratch::new();
    let absent = scratch.path("absent.safetensors");
    with(&["--patch", &absent, "--alpha", "-1"], &[&absent]);
    let text = scratch.file("text.safetensors", b"not a trace");
    with(&["--patch", &text, "--alpha", "-1"], &[&text]);
    let weights = format!("{}/model.safetensors", fixture("one_head"));
    with(&["--patch", &weights, "--alpha", "-1"], &[&weights, "attn.reversed"]);
    with(&["--patch", &weights, "--alpha", "nan"], &["alpha"]);
}

#[test]
fn flags() {
    retrograd(&["trace", "--frobnicate"]).fails_as_usage(&["--frobnicate"]);
    retrograd(&["frobnicate"]).fails_as_usage(&["frobnicate"]);
    retrograd(&["trace", "--ids", "1", "--precision", "f8"]).fails_as_usage(&["f8", "--precision"]);
    retrograd(&["trace", "--ids", "1", "--top", "-1"]).fails_as_usage(&["-1"]);
    retrograd(&["trace", "text", "--ids", "1", "--next-token"]).fails_as_usage(&["--ids"]);
    retrograd(&["trace", "--ids", "1", "--next-token", "--target-id", "2"]).fails_as_usage(&["--next-token"]);
    retrograd(&["trace", "--ids", "1", "--next-token", "--patch", "x"]).fails_as_usage(&["required"]);
    assert_eq!(retrograd(&[]).code, Some(2));
}

#[test]
fn an_unknown_adapter_lists_those_there_are() {
    fails(
        &["--ids", "3,1", "--target-id", "2", "--adapter", "no such adapter"],
        &["'no such adapter'", "reference"],
    );
}

#[test]
fn the_reference_does_not_pretend() {
    let model = fixture("one_head");
    fails(
        &["--ids", "3", "--target-id", "2", "--adapter", "reference", "--precision", "f16"],
        &["--precision"],
    );
    retrograd(&["generate", "--model", &model, "--ids", "3", "--adapter", "reference"]).fails(&["--adapter"]);
}

#[test]
fn an_output_that_cannot_be_written_is_found_out_first() {
    let scratch = Scratch::new();
    let nowhere = scratch.path("absent/trace.safetensors");
    let model = fixture("one_head");
    let request = ["--model", &model, "--ids", "3,1", "--target-id", "2", "--adapter", "reference"];
    retrograd(&[&["trace", "--out", &nowhere], &request[..]].concat()).fails(&[&nowhere, "no directory"]);
    let directory = scratch.path("");
    retrograd(&[&["trace", "--out", &directory], &request[..]].concat()).fails(&["is a directory"]);
    assert!(scratch.names().is_empty());
}

#[test]
fn generation() {
    let model = fixture("one_head");
    let with = |flags: &[&str], parts: &[&str]| {
        retrograd(&[&["generate", "--model", &model, "--ids", "3,1"], flags].concat()).fails(parts);
    };
    with(&["--temperature", "-1"], &["temperature"]);
    with(&["--top-k", "0", "--temperature", "1"], &["top-k"]);
    with(&["--top-p", "1.5", "--temperature", "1"], &["top-p"]);
    with(&["--ablate", "1.0"], &["head 1.0"]);
}
