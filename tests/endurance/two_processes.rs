//! Several processes at once: on one device and one model, and where two would write to one place.

use crate::files::{litter, prompts, visible};
use crate::harness::{Run, Scratch, command, retrograd};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn start(args: &[&str]) -> Child {
    command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for(path: &Path) {
    let started = Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn processes_that_share_a_device_and_a_model_write_what_one_alone_does() {
    let scratch = Scratch::new();
    let trace = |out: &str| {
        let fact = ["trace", "The capital of France is", "--target", " Paris", "--out", out];
        fact.map(str::to_owned)
    };
    let alone = scratch.path("alone.safetensors");
    retrograd(&trace(&alone).each_ref().map(String::as_str)).succeeds();
    // Into one file too: each replaces it whole.
    let outs = ["a.safetensors", "b.safetensors", "b.safetensors"].map(|name| scratch.path(name));
    let children = outs.each_ref().map(|out| start(&trace(out).each_ref().map(String::as_str)));
    for child in children {
        Run::of(child.wait_with_output().unwrap()).succeeds();
    }
    for out in &outs {
        assert!(std::fs::read(out).unwrap() == std::fs::read(&alone).unwrap());
    }
    assert!(litter(Path::new(&scratch.path(""))).is_empty());
}

#[test]
fn a_second_training_into_a_directory_is_refused_until_the_first_is_over() {
    let scratch = Scratch::new();
    let text: String = (0..400).map(|i| format!("The number {i} comes before {}.\n", i + 1)).collect();
    let text = scratch.file("text.txt", text.as_bytes());
    let model = crate::harness::fixture("untied");
    let tokenizer = scratch.path("tok");
    retrograd(&["tokenizer", "--text", &text, "--vocab", "257", "--out", &tokenizer]).succeeds();
    let out = scratch.path("out");
    let train = |steps: &'static str| {
        let from = ["train", "--init", &model, "--tokenizer", &tokenizer, "--text", &text, "--out", &out];
        [&from[..], &["--batch", "1", "--context", "4", "--steps", steps]]
            .concat()
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let (long, short) = (train("100000"), train("2"));
    let words = |args: &[String]| -> Vec<&'static str> {
        args.iter().map(|word| &*Box::leak(word.clone().into_boxed_str())).collect()
    };
    let mut first = start(&words(&long));
    wait_for(&Path::new(&out).join(".retrograd-training.lock"));
    // What the first has said by then is of no interest; that it has written its number may come a moment later.
    std::thread::sleep(Duration::from_millis(20));
    retrograd(&words(&short)).fails(&[
        &out,
        &format!("process {}", first.id()),
        "training",
        "another directory",
    ]);
    first.kill().unwrap();
    first.wait().unwrap();
    retrograd(&words(&short)).succeeds();
    assert!(visible(Path::new(&out)).contains_key("model.safetensors"));
    assert_eq!(litter(Path::new(&out)), Vec::<String>::new());
}

#[test]
fn sweeps_share_a_directory_by_shares_and_only_so() {
    let scratch = Scratch::new();
    let table = scratch.file("table.jsonl", prompts(400).as_bytes());
    let (alone, shared) = (scratch.path("alone"), scratch.path("shared"));
    let usual = |out: &'static str| ["sweep", "--part-rows", "100", "--one-by-one", "--out", out];
    let leak = |path: &str| -> &'static str { Box::leak(path.to_owned().into_boxed_str()) };
    retrograd(&[&usual(leak(&alone))[..], &[&table]].concat()).succeeds();
    let args = |share: &'static str| [&usual(leak(&shared))[..], &[leak(&table), "--shard", share]].concat();
    let first = start(&args("1/2"));
    let second = start(&args("2/2"));
    wait_for(&Path::new(&shared).join(".retrograd-share-1-of-2.lock"));
    let third = retrograd(&[&args("1/2")[..], &["--resume"]].concat());
    if third.code != Some(0) {
        third.fails(&[&shared, "is writing here", "share-1-of-2"]);
    }
    for child in [first, second] {
        Run::of(child.wait_with_output().unwrap()).succeeds();
    }
    let parts = |out: &str| {
        let mut files = visible(Path::new(out));
        files.retain(|name, _| name.ends_with(".parquet"));
        files
    };
    assert_eq!(parts(&shared).len(), 4);
    assert!(parts(&shared) == parts(&alone));
    assert_eq!(litter(Path::new(&shared)), Vec::<String>::new());
}
