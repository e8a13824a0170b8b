//! `retrograd tokenizer` and `retrograd train`.

use crate::harness::{Run, Scratch, command, retrograd};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// A text, its tokenizer and a tiny model's configuration.
struct Bench {
    scratch: Scratch,
}

impl Bench {
    fn new() -> Bench {
        let scratch = Scratch::new();
        let text: String = (0..400).map(|i| format!("The number {i} comes before {}.\n", i + 1)).collect();
        scratch.file("text.txt", text.as_bytes());
        let config = json!({
            "model_type": "gpt2", "vocab_size": 300, "n_positions": 24, "n_embd": 12, "n_layer": 1, "n_head": 2,
            "bos_token_id": 0, "eos_token_id": 0,
        });
        scratch.file("config.json", config.to_string().as_bytes());
        let bench = Bench { scratch };
        bench.tokenizer("tok", "300").succeeds();
        bench
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path(name)
    }

    fn tokenizer(&self, out: &str, vocab: &str) -> Run {
        retrograd(&[
            "tokenizer",
            "--text",
            &self.path("text.txt"),
            "--vocab",
            vocab,
            "--out",
            &self.path(out),
        ])
    }

    /// The arguments of a training into `out`; later flags override earlier ones.
    fn args(&self, out: &str, flags: &[&str]) -> Vec<String> {
        let usual = [
            "train",
            "--config",
            &self.path("config.json"),
            "--tokenizer",
            &self.path("tok"),
            "--text",
            &self.path("text.txt"),
            "--out",
            &self.path(out),
            "--batch",
            "2",
            "--context",
            "8",
        ]
        .map(str::to_owned);
        usual.into_iter().chain(flags.iter().map(|flag| (*flag).to_owned())).collect()
    }

    fn train(&self, out: &str, flags: &[&str]) -> Run {
        let args = self.args(out, flags);
        retrograd(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line is a JSON document")).collect()
}

#[test]
fn a_training_gives_a_model_that_traces_and_generates() {
    let bench = Bench::new();
    let held_out = bench.path("text.txt");
    let flags = ["--steps", "6", "--lr", "0.01", "--json", "--held-out", &held_out, "--eval-every", "3"];
    let steps = lines(&bench.train("model", &flags).succeeds());
    assert_eq!(
        steps.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5]
    );
    for line in &steps {
        for field in ["loss", "grad_norm", "lr", "tokens_per_s"] {
            assert!(line[field].as_f64().unwrap() >= 0.0, "{line}");
        }
    }
    let measured: Vec<bool> = steps.iter().map(|line| line.get("held_out_loss").is_some()).collect();
    assert_eq!(measured, [false, false, true, false, false, true]);

    let model = bench.path("model");
    let trace = retrograd(&["trace", "--model", &model, "The number 5", "--next-token", "--json"]).json();
    assert_eq!(trace["prompt"], "The number 5");
    assert_eq!(trace["tokens"][0]["text"], "The");
    let text = retrograd(&["generate", "--model", &model, "The number", "--max-tokens", "4"]).succeeds();
    assert!(text.starts_with("The number"), "{text}");
    // A whole word is asked for by its text; half a word is explained.
    let run = retrograd(&["trace", "--model", &model, "The", "--target", " zebra"]);
    run.fails(&["' zebra'", "not one token"]);
    let run = retrograd(&["trace", "--model", &model, "The", "--target", "number"]);
    run.fails(&["'number'", "' number'"]);
    let run = retrograd(&["trace", "--model", &model, "", "--next-token"]);
    run.fails(&["prompt", "empty"]);

    // Its weights start another training.
    let tuned = [
        "train",
        "--init",
        &model,
        "--text",
        &held_out,
        "--steps",
        "2",
        "--batch",
        "1",
        "--context",
        "4",
        "--precision",
        "f16",
        "--out",
        &bench.path("tuned"),
    ];
    retrograd(&tuned).succeeds();
    retrograd(&["trace", "--model", &bench.path("tuned"), "The number 5", "--next-token", "--json"]).json();
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_goes_on_to_the_same_weights() {
    let bench = Bench::new();
    let flags = ["--steps", "100", "--json"];
    let whole = lines(&bench.train("whole", &flags).succeeds());

    let args = bench.args("parts", &flags);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut child = command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = output.next().unwrap().unwrap();
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let rest: Vec<String> = output.map(Result::unwrap).collect();
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let before = 1 + rest.len();
    assert!(before < 100, "the training was over before it was interrupted");

    let resumed = lines(&bench.train("parts", &[&flags[..], &["--resume"]].concat()).succeeds());
    let losses = |lines: &[Value]| lines.iter().map(|line| line["loss"].clone()).collect::<Vec<_>>();
    assert_eq!(losses(&lines(&first)), losses(&whole[..1]));
    assert_eq!(losses(&resumed), losses(&whole[before..]));
    let weights = |out: &str| std::fs::read(bench.path(&format!("{out}/model.safetensors"))).unwrap();
    assert!(weights("parts") == weights("whole"), "the weights differ");
    assert!(!std::path::Path::new(&bench.path("parts/training-state.safetensors")).exists());
}

#[test]
fn bad_trainings() {
    let bench = Bench::new();
    let fails = |flags: &[&str], parts: &[&str]| {
        bench.train("out", &[&["--steps", "2"], flags].concat()).fails(parts);
        assert!(!std::path::Path::new(&bench.path("out")).exists(), "{flags:?} left an output");
    };
    let absent = bench.path("absent.txt");
    fails(&["--text", &absent], &[&absent]);
    let binary = bench.scratch.file("binary.txt", &[b'a', 0xff, 0xfe]);
    fails(&["--text", &binary], &[&binary, "UTF-8"]);
    fails(&["--held-out", &absent], &[&absent]);
    fails(&["--context", "25"], &["context", "24"]);
    fails(&["--context", "0"], &["context"]);
    fails(&["--batch", "0"], &["batch"]);
    fails(&["--lr", "-1"], &["lr"]);
    fails(&["--lr", "nan"], &["lr"]);
    fails(&["--weight-decay", "-1"], &["weight-decay"]);
    fails(&["--clip", "-1"], &["clip"]);
    fails(&["--betas", "0.9,1"], &["betas"]);
    fails(&["--eps", "0"], &["eps"]);
    fails(&["--warmup", "3"], &["warmup"]);
    fails(&["--tokenizer", &absent], &[&absent]);
    fails(&["--out", &bench.path("text.txt/out")], &["text.txt", "not a directory"]);
    fails(&["--resume"], &["training-state.safetensors", "without --resume"]);
    fails(&["--adapter", "reference"], &["--adapter"]);
    let usage = |flags: &[&str], part: &str| bench.train("out", flags).fails_as_usage(&[part]);
    usage(&["--steps", "2", "--betas", "0.9"], "--betas");
    usage(&["--steps", "-2"], "-2");
    usage(&[], "required");
    usage(&["--steps", "2", "--init", "x"], "--init");

    let short = bench.scratch.file("short.txt", b"The");
    let run = retrograd(&[
        "train",
        "--config",
        &bench.path("config.json"),
        "--tokenizer",
        &bench.path("tok"),
        "--text",
        &short,
        "--out",
        &bench.path("out"),
        "--steps",
        "2",
    ]);
    run.fails(&["text", "tokens"]);
}

#[test]
fn bad_tokenizers() {
    let bench = Bench::new();
    bench.tokenizer("other", "255").fails(&["255"]);
    bench.tokenizer("text.txt", "300").fails(&["text.txt", "not a directory"]);
    bench.tokenizer("text.txt/tok", "300").fails(&["text.txt", "not a directory"]);
    let absent = bench.path("absent.txt");
    let run = retrograd(&["tokenizer", "--text", &absent, "--vocab", "300", "--out", &bench.path("other")]);
    run.fails(&[&absent]);
    assert!(!std::path::Path::new(&bench.path("other")).exists());
}
