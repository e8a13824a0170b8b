//! Weights that are damaged, dangerous or too large.

use crate::harness::{fixture, trace_fails};
use crate::model_dir::ModelDir;
use serde_json::json;

const REQUEST: [&str; 4] = ["--ids", "3,1", "--target-id", "2"];

fn fails(dir: &ModelDir, parts: &[&str]) {
    trace_fails(&[&["--model", dir.path()], &REQUEST[..]].concat(), parts);
}

/// As [`fails`] for what is found only when the values are read: by the oracle, which needs no device.
fn fails_when_read(dir: &ModelDir, parts: &[&str]) {
    trace_fails(&[&["--adapter", "reference", "--model", dir.path()], &REQUEST[..]].concat(), parts);
}

#[test]
fn there_are_none() {
    let dir = ModelDir::small();
    std::fs::remove_file(dir.file("model.safetensors")).unwrap();
    fails(&dir, &[dir.path(), "neither model.safetensors"]);
    dir.write("pytorch_model.bin", b"");
    fails(&dir, &["pytorch_model.bin", "save_pretrained"]);
}

#[test]
fn files_that_are_no_safetensors() {
    let dir = ModelDir::small();
    let whole = std::fs::read(dir.file("model.safetensors")).unwrap();
    let random: Vec<u8> = (0u32..4096).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let header_of_2_60 = [&(1u64 << 60).to_le_bytes()[..], &whole[8..]].concat();
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty"),
        (&whole[..5], "5 bytes"),
        (&whole[..whole.len() / 2], ""),
        (&whole[..whole.len() - 1], ""),
        (&random, ""),
        (&header_of_2_60, "1152921504606846976"),
    ];
    for (content, part) in cases {
        dir.write("model.safetensors", content);
        fails(&dir, &["model.safetensors", part]);
    }
}

#[test]
fn headers_that_lie() {
    let past_the_end = ModelDir::small().change_header(|header| {
        let offsets = &mut header["ln_f.bias"]["data_offsets"];
        *offsets = json!([offsets[0], 1u64 << 40]);
    });
    fails(&past_the_end, &["model.safetensors"]);
    let overflowing = ModelDir::small().change_header(|header| {
        header["ln_f.bias"]["shape"] = json!([u64::MAX, u64::MAX]);
    });
    fails(&overflowing, &["model.safetensors"]);
    let integers = ModelDir::small().change_header(|header| header["ln_f.bias"]["dtype"] = json!("I32"));
    fails(&integers, &["model.safetensors", "ln_f.bias", "I32"]);
    let wrong_shape = ModelDir::small().change_header(|header| {
        header["h.0.mlp.c_fc.weight"]["shape"] = json!([132, 33]);
    });
    fails(&wrong_shape, &["model.safetensors", "h.0.mlp.c_fc.weight", "[132, 33]", "[33, 132]"]);
    let missing = ModelDir::small().change_header(|header| {
        let tensors = header.as_object_mut().unwrap();
        let tensor = tensors.remove("h.0.ln_2.bias").unwrap();
        tensors.insert("h.0.ln_2.other".to_owned(), tensor);
    });
    fails(&missing, &["model.safetensors", "h.0.ln_2.bias"]);
}

#[test]
fn values_that_are_not_finite() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let dir = ModelDir::small().set_element("h.0.attn.c_attn.weight", 7, value);
        fails_when_read(&dir, &["model.safetensors", "h.0.attn.c_attn.weight", "7"]);
    }
}

#[test]
fn a_device_refuses_values_that_are_not_finite_too() {
    let dir = ModelDir::small().set_element("ln_f.weight", 3, f32::NAN);
    fails(&dir, &["model.safetensors", "ln_f.weight", "3"]);
}

#[test]
fn shards_outside_the_directory() {
    for shard in ["../secret.safetensors", "/etc/passwd", "a/../../b.safetensors", "..", ""] {
        let dir = ModelDir::small().set_index("wte.weight", shard);
        fails(&dir, &["model.safetensors.index.json", shard]);
    }
    let absent = ModelDir::small().set_index("wte.weight", "model-00001-of-00002.safetensors");
    fails(&absent, &["model-00001-of-00002.safetensors"]);
}

#[test]
fn a_shard_index_that_is_damaged() {
    let dir = ModelDir::small().set_index("wte.weight", "x");
    for content in ["", "[]", "{\"weight_map\": 3}", "{\"weight_map\": {\"wte.weight\": 3}}"] {
        dir.write("model.safetensors.index.json", content.as_bytes());
        fails(&dir, &["model.safetensors.index.json"]);
    }
}

#[test]
fn a_model_larger_than_the_device() {
    let model = fixture("three_layers");
    let args = ["--model", &model, "--memory-limit", "65536", "--ids", "3,1", "--target-id", "2"];
    trace_fails(&args, &[&model, "needs ", "of which 64 KiB are free"]);
}
