//! `retrograd verify`: documents, reference files, bad input.

use crate::harness::{Run, Scratch, fixture, retrograd};
use serde_json::{Value, json};

/// A safetensors file of F64 tensors.
fn file(scratch: &Scratch, name: &str, metadata: Value, tensors: &[(&str, &[usize], &[f64])]) -> String {
    let mut header = json!({ "__metadata__": metadata });
    let mut data: Vec<u8> = Vec::new();
    for (name, shape, values) in tensors {
        let start = data.len();
        let dtype = if *name == "tokens" { "I64" } else { "F64" };
        for value in *values {
            let bytes = if *name == "tokens" { (*value as i64).to_le_bytes() } else { value.to_le_bytes() };
            data.extend_from_slice(&bytes);
        }
        header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
    }
    let header = header.to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    scratch.file(name, &bytes)
}

fn against(file: &str, flags: &[&str]) -> Run {
    let model = fixture("untied");
    retrograd(&[&["verify", "--model", &model, "--against", file], flags].concat())
}

fn expected() -> String {
    format!("{}/expected.safetensors", fixture("untied"))
}

#[test]
fn pytorchs_gradients_agree() {
    let document = against(&expected(), &["--json"]).json();
    assert_eq!(document["schema"], "retrograd-verify/1");
    assert_eq!(document["passed"], true);
    assert_eq!(document["tokens"].as_array().unwrap().len(), 9);
    assert_eq!(document["missing"], json!([]));
    // The fixture's gradients of parameters have names of their own.
    assert!(document["extra"].as_array().unwrap().contains(&json!("grad.lm_head.weight")));
    let checks = document["checks"].as_array().unwrap();
    let reversed = checks.iter().find(|check| check["name"] == "attn.reversed").unwrap();
    assert_eq!(reversed["section"], "reference");
    assert_eq!(reversed["cases"], 2);
    let number = |key: &str| reversed["worst"][key].as_f64().unwrap();
    assert!(number("relative") > 0.0 && number("relative") <= number("allowed"));
    assert!(number("expected") > 0.0);
}

#[test]
fn half_precision_is_another_model() {
    // Matrices rounded to f16 are not those that PyTorch had.
    let run = against(&expected(), &["--precision", "f16", "--json"]);
    assert_eq!(run.code, Some(3));
    assert!(
        run.stderr.starts_with("error: ") && run.stderr.contains("checks are outside: tensor"),
        "{}",
        run.stderr
    );
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["passed"], false);
    // The first in the order of computation.
    let first = document["at_fault"][0].as_str().unwrap();
    assert!(first.contains("transformer.h.0.resid_pre"), "{first}");
}

#[test]
fn what_is_missing_and_what_is_too_much() {
    let scratch = Scratch::new();
    let objective = json!({"objective": r#"{"kind": "target", "positions": [1], "targets": [7]}"#});
    let tokens: (&str, &[usize], &[f64]) = ("tokens", &[2], &[3.0, 1.0]);
    let whole = file(&scratch, "wrong.safetensors", objective.clone(), &[tokens, ("loss", &[1], &[1e3])]);
    let run = against(&whole, &["--json"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stderr.contains("tensor loss"), "{}", run.stderr);
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(document["missing"].as_array().unwrap().contains(&json!("transformer.h.1.attn.reversed")));
    assert!(!document["missing"].as_array().unwrap().contains(&json!("loss")));
    assert!(
        document["checks"][0]["worst"]["hint"].is_null()
            || document["checks"][0]["worst"]["hint"].is_string()
    );

    let page = against(&whole, &[]);
    assert!(page.stdout.contains("not in the file") && page.stdout.contains("OUTSIDE"), "{}", page.stdout);
    assert!(!page.stdout.contains('\u{1b}'));

    let nothing = file(&scratch, "nothing.safetensors", objective, &[tokens, ("my.gradient", &[1], &[0.0])]);
    against(&nothing, &[]).fails(&[&nothing, "no tensor of a trace"]);
}

#[test]
fn files_that_do_not_fit() {
    let scratch = Scratch::new();
    let objective = json!({"objective": r#"{"kind": "target", "positions": [1], "targets": [7]}"#});
    let tokens: (&str, &[usize], &[f64]) = ("tokens", &[2], &[3.0, 1.0]);
    let name = "transformer.ln_f.input";
    let with = |metadata: &Value, tensors: &[(&str, &[usize], &[f64])], flags: &[&str], parts: &[&str]| {
        let path = file(&scratch, "reference.safetensors", metadata.clone(), tensors);
        against(&path, flags).fails(&[&[path.as_str()], parts].concat());
    };
    // Another model's width.
    with(&objective, &[tokens, (name, &[2, 8], &[0.5; 16])], &[], &[name, "[2, 8]", "[2, "]);
    with(&objective, &[tokens, ("loss", &[1], &[f64::NAN])], &[], &["loss", "NaN", "finite"]);
    with(
        &objective,
        &[("tokens", &[2], &[3.0, 1e6]), ("loss", &[1], &[1.0])],
        &[],
        &["1000000", "vocabulary"],
    );
    with(&objective, &[("tokens", &[1], &[-1.0]), ("loss", &[1], &[1.0])], &[], &["tokens", "no token id"]);
    with(&json!({}), &[("loss", &[1], &[1.0])], &["--next-token"], &["'tokens'", "--ids"]);
    with(&json!({}), &[tokens, ("loss", &[1], &[1.0])], &[], &["objective", "--target"]);
    with(&json!({"objective": "{"}), &[tokens, ("loss", &[1], &[1.0])], &[], &["'objective'", "JSON"]);
    let twisted = json!({"objective": r#"{"kind": "target", "positions": [9], "targets": [7]}"#});
    with(&twisted, &[tokens, ("loss", &[1], &[1.0])], &[], &["'objective'", "damaged"]);
    with(
        &objective,
        &[tokens, ("loss", &[1], &[1.0])],
        &["--ids", "3,1,4", "--target-id", "7"],
        &["other tokens"],
    );
    let text = scratch.file("text.safetensors", b"not a file of tensors");
    against(&text, &[]).fails(&[&text]);
    let absent = scratch.path("absent.safetensors");
    against(&absent, &[]).fails(&[&absent]);
}

#[test]
fn kernels_alone() {
    let document = retrograd(&["verify", "--kernels", "add_scaled,replace_h*", "--json"]).json();
    assert_eq!((&document["model"], &document["tokens"]), (&Value::Null, &Value::Null));
    let checks = document["checks"].as_array().unwrap();
    assert_eq!(
        checks.iter().map(|check| &check["name"]).collect::<Vec<_>>(),
        ["add_scaled", "replace_heads"]
    );
    let page = retrograd(&["verify", "--kernels", "gemm_heads", "--gemm", "portable"]).succeeds();
    assert!(page.contains("gemm of heads portable") && page.contains("all within tolerance"), "{page}");
    assert!(!page.contains("workgroup") && page.lines().all(|line| line.chars().count() <= 110), "{page}");
}

#[test]
fn a_prompt_of_ones_own() {
    let model = fixture("one_head");
    let flags =
        ["verify", "--model", &model, "--ids", "3,1,4", "--target-id", "7", "--precision", "f32", "--json"];
    let document = retrograd(&flags).json();
    assert_eq!(document["tokens"].as_array().unwrap().len(), 3);
    for section in ["kernels", "equations", "identities", "trace", "differences", "repetition"] {
        let checks = document["checks"].as_array().unwrap().iter();
        assert!(checks.filter(|check| check["section"] == section).count() > 0, "{section}");
    }
}

#[test]
fn wrong_arguments() {
    let usage =
        |flags: &[&str], parts: &[&str]| retrograd(&[&["verify"], flags].concat()).fails_with(2, parts);
    usage(&["--adapter", "reference"], &["reference", "device"]);
    usage(&["--gemm", "systolic"], &["'systolic'", "portable", "all"]);
    usage(&["--target-id", "7"], &["without a prompt", "--ids"]);
    let model = fixture("one_head");
    usage(&["--model", &model, "--ids", "3"], &["no objective", "--target"]);
    usage(&["--against", &expected(), "--gemm", "all"], &["--against", "--gemm"]);
    retrograd(&["verify", "--kernels", "softmax"]).fails(&["--kernels", "'softmax'", "causal_softmax"]);
    retrograd(&["verify", "--kernels", "gemm", "--against", "x"]).fails_as_usage(&["--against"]);
    retrograd(&["verify", "--precision", "f8"]).fails_as_usage(&["f8"]);
    retrograd(&["verify", "--model", "no/such/model"]).fails(&["no/such/model"]);
    let ids = vec!["1"; 17].join(",");
    retrograd(&["verify", "--model", &model, "--ids", &ids, "--target-id", "2"])
        .fails(&["17", "n_positions of 16"]);
}
