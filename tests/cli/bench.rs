//! `retrograd bench`: its documents, and what it refuses. No time is asserted.

use crate::harness::{Run, Scratch, command, fixture, retrograd};
use serde_json::Value;
use std::path::Path;

/// The smallest shape there is, one run.
fn bench(what: &str, flags: &[&str]) -> Run {
    retrograd(&[&["bench", what, "--shape", "atlas"], flags].concat())
}

fn document(what: &str, flags: &[&str]) -> Value {
    let document = bench(what, &[flags, &["--json"]].concat()).json();
    assert_eq!(document["schema"], "retrograd-bench/1");
    assert_eq!(document["command"], what);
    assert_eq!(document["checked"], false);
    assert!(document["adapter"].is_string() && document["driver"].is_string());
    for row in document["rows"].as_array().unwrap() {
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} of {row}"));
        assert!(number("median_ms") >= number("min_ms") && number("min_ms") > 0.0, "{row}");
        assert!(row["length"].as_u64().is_some() && row["name"].is_string(), "{row}");
        if cfg!(target_os = "linux") && what != "tune" && what != "start" {
            assert!(number("peak_rss_mb") > 1.0, "{row}");
        }
    }
    document
}

#[test]
fn kernels_are_checked_and_every_one_has_a_row() {
    let all = document("kernels", &["--quick", "--length", "9"]);
    let rows = all["rows"].as_array().unwrap();
    for kernel in [
        "layer_norm_backward",
        "reversed_attention",
        "cross_entropy",
        "attention_decode",
        "adamw",
        "vocabulary_summary",
        "pack",
    ] {
        assert!(rows.iter().any(|row| row["name"] == kernel), "no {kernel}");
    }
    for row in rows {
        assert!(row["error"].as_f64().unwrap() <= row["bound"].as_f64().unwrap(), "{row}");
        assert!(
            row["gb_per_s"].as_f64().unwrap() > 0.0 && row["copy_share"].as_f64().unwrap() > 0.0,
            "{row}"
        );
        let gemm = row["name"].as_str().unwrap().starts_with("gemm/");
        assert_eq!(row["gflops"].is_number() && row["gemm_share"].is_number(), gemm, "{row}");
    }
    assert!(all["best_gemm_gflops"].as_f64().unwrap() > 0.0 && all["copy_gb_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn globs_choose_kernels_and_variants() {
    let flags = ["--kernels", "gemm/portable/*/f16,layer_norm_g*", "--length", "7"];
    let chosen = document("kernels", &flags);
    let names: Vec<&str> =
        chosen["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"gemm/portable/NT/f16") && names.contains(&"layer_norm_grad"), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("gemm/portable/") || *name == "layer_norm_grad"));
    bench("kernels", &["--kernels", "gemm*,conv2d"]).fails(&[
        "--kernels",
        "'conv2d'",
        "layer_norm",
        "gemm/NN/f32",
    ]);
}

#[test]
fn batches_of_traces() {
    let measured = document(
        "trace",
        &["--n-layer", "1", "--n-embd", "64", "--length", "5", "--batch", "1,3", "--runs", "1"],
    );
    let rows = measured["rows"].as_array().unwrap();
    assert_eq!([&rows[0]["batch"], &rows[1]["batch"]], [1, 3]);
    assert!(rows.iter().all(|row| row["sequences_per_s"].as_f64().unwrap() > 0.0));
    let operations = |at: usize| rows[at]["gemm_gflop"].as_f64().unwrap();
    assert!((operations(1) / operations(0) - 3.0).abs() < 0.1, "{measured}");
}

#[test]
fn a_trace_with_its_kernels_and_a_time_line() {
    let scratch = Scratch::new();
    let path = scratch.path("time-line.json");
    let flags = [
        "--n-layer",
        "2",
        "--n-embd",
        "64",
        "--length",
        "5,12",
        "--runs",
        "2",
        "--breakdown",
        "--chrome-trace",
        &path,
    ];
    let measured = document("trace", &flags);
    let rows = measured["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["length"].as_u64().unwrap()).collect::<Vec<_>>(), [5, 12]);
    let line: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let events = line["traceEvents"].as_array().unwrap();
    assert!(events.iter().any(|event| event["name"] == "first trace" && event["ph"] == "X"));
    if measured["timestamps"] == true {
        for row in rows {
            let shares =
                row["breakdown"].as_array().unwrap().iter().map(|sum| sum["share"].as_f64().unwrap());
            assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9);
            let share = row["gemm_time_share"].as_f64().unwrap();
            assert!(share > 0.0 && share < 1.0);
        }
        let kernels = events.iter().filter(|event| event["cat"] == "kernel").count() as u64;
        assert_eq!(kernels, rows.iter().map(|row| row["dispatches"].as_u64().unwrap()).sum::<u64>());
    }
}

#[test]
fn an_adapter_without_timestamps_is_measured_by_the_host_and_says_so() {
    // The limits that every device has leave timestamps out.
    let flags = ["--default-limits", "--length", "4", "--runs", "1"];
    let traced = document("trace", &[&flags[..], &["--breakdown"]].concat());
    assert_eq!(traced["timestamps"], false);
    let notes = traced["notes"].to_string();
    assert!(notes.contains("no timestamps") && notes.contains("no times by kernel"), "{notes}");
    assert!(traced["rows"][0].get("breakdown").is_none() && traced["rows"][0]["median_ms"].is_number());
    let kernels = ["--default-limits", "--length", "4", "--quick", "--kernels", "layer_norm"];
    assert_eq!(document("kernels", &kernels)["rows"][0]["timer"], "host");
}

#[test]
fn generation_training_and_start() {
    let generated =
        document("generate", &["--length", "6", "--tokens", "5", "--runs", "1", "--precision", "f16"]);
    let row = &generated["rows"][0];
    assert_eq!(
        (row["tokens"].as_u64(), row["runs"].as_u64(), &row["precision"]),
        (Some(5), Some(4), &"f16".into())
    );
    assert!(row["tokens_per_s"].as_f64().unwrap() > 0.0);
    let trained = document("train", &["--batch", "2", "--length", "6", "--runs", "2"]);
    assert_eq!(
        (trained["rows"][0]["batch"].as_u64(), trained["rows"][0]["runs"].as_u64()),
        (Some(2), Some(2))
    );

    let model = fixture("untied");
    let started = retrograd(&["bench", "start", "--runs", "1", "--json", "--model", &model]).json();
    let caches: Vec<&Value> = started["rows"].as_array().unwrap().iter().map(|row| &row["cache"]).collect();
    assert_eq!(caches, ["warm", "cold"]);
    assert_eq!(started["rows"][0]["length"], 5);
}

#[test]
fn the_choice_of_tune_is_kept_and_used() {
    let scratch = Scratch::new();
    let caches = scratch.path("caches");
    let run = |args: &[&str]| Run::of(command(args).env("XDG_CACHE_HOME", &caches).output().unwrap());
    let tune = ["bench", "tune", "--shape", "atlas", "--length", "8", "--quick", "--json"];
    run(&[&tune[..], &["--dry-run"]].concat()).json();
    // Drivers keep their shaders there too.
    assert!(!Path::new(&caches).join("retrograd").exists());
    let tuned = run(&tune).json();
    let chosen: Vec<&Value> = tuned["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["chosen"] == true)
        .map(|row| &row["name"])
        .collect();
    assert_eq!(chosen.len(), 1);

    // Another choice, as if it had been the fastest.
    let file = scratch.path("caches/retrograd/tuning.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["format"], "retrograd-tuning/1");
    kept["choices"][0]["gemm"] = "workgroup".into();
    std::fs::write(&file, kept.to_string()).unwrap();
    let quick = [
        "bench",
        "kernels",
        "--shape",
        "atlas",
        "--length",
        "4",
        "--quick",
        "--kernels",
        "gemm/TN/f32",
        "--json",
    ];
    assert_eq!(run(&quick).json()["gemm"], "workgroup");
    // A file that says nothing sensible is no reason to fail.
    std::fs::write(&file, "{").unwrap();
    assert_ne!(run(&quick).json()["gemm"], "workgroup");
}

#[test]
fn a_cache_directory_that_cannot_be_written_is_named_before_anything_is_measured() {
    let scratch = Scratch::new();
    let file = scratch.file("file", b"");
    let args = ["bench", "tune", "--shape", "atlas"];
    let refused = Run::of(command(&args).env("XDG_CACHE_HOME", &file).output().unwrap());
    refused.fails(&["file", "cache directory", "XDG_CACHE_HOME"]);
}

#[test]
fn lengths_and_names_that_are_not_there() {
    for (what, flags, parts) in [
        ("trace", &["--length", "8,129"][..], &["--length", "129", "128 positions", "atlas"][..]),
        ("trace", &["--length", "0"], &["--length", "0"]),
        ("trace", &["--runs", "0"], &["--runs", "0"]),
        ("trace", &["--batch", "0"], &["--batch", "0"]),
        ("kernels", &["--length", "4096"], &["--length", "4096", "128"]),
        ("generate", &["--length", "100", "--tokens", "64"], &["--tokens", "163"]),
        ("generate", &["--tokens", "1"], &["--tokens", "1"]),
        ("train", &["--batch", "0"], &["--batch", "0"]),
        ("train", &["--length", "400"], &["--length", "400"]),
        ("trace", &["--n-layer", "0"], &["--n-layer", "0"]),
        ("train", &["--n-embd", "100"], &["--n-embd", "100", "64"]),
        ("trace", &["--adapter", "reference"], &["reference"]),
        ("trace", &["--adapter", "no such"], &["no such"]),
    ] {
        bench(what, flags).fails(parts);
    }
    bench("trace", &["--shape", "gpt5"]).fails_as_usage(&["gpt5", "--shape"]);
    bench("trace", &["--gemm", "fast"]).fails_as_usage(&["fast", "portable"]);
    bench("trace", &["--tile", "63x64"]).fails_as_usage(&["63x64", "64x64/4"]);
    bench("trace", &["--tile", "64x64", "--gemm", "image"]).fails_as_usage(&[
        "--tile",
        "image",
        "--gemm workgroup",
    ]);
    bench("tune", &["--tile", "64x64"]).fails_as_usage(&["--tile", "every GEMM variant"]);
    bench("tune", &["--default-limits"]).fails_with(2, &["--default-limits", "--dry-run"]);
    retrograd(&["bench", "trace", "--model", "no/such/model"]).fails(&["no/such/model"]);
    let scratch = Scratch::new();
    let nowhere = scratch.path("none/line.json");
    bench("trace", &["--length", "4", "--chrome-trace", &nowhere]).fails(&["none"]);
    assert!(scratch.names().is_empty());
}
