//! Too little memory on the device: refused with numbers, or made to fit where that is allowed.

use crate::harness::{Run, Scratch, retrograd};
use serde_json::json;

/// A trace of 60 tokens with every tensor, on a device of so many bytes: the shipped model takes 4.5 MB as f32 and one
/// more while it is loaded, its halves 2.3 MB, the pass 4 MB.
fn trace(scratch: &Scratch, bytes: &str, flags: &[&str]) -> Run {
    let ids: Vec<String> = (0..60).map(|at| (17 + 13 * at).to_string()).collect();
    let (ids, out) = (ids.join(","), scratch.path("trace.safetensors"));
    let args = ["trace", "--ids", &ids, "--target-id", "7", "--out", &out, "--memory-limit", bytes];
    retrograd(&[&args[..], flags].concat())
}

#[test]
fn what_does_not_fit_is_refused_with_numbers_and_advice() {
    let scratch = Scratch::new();
    let model = ["models/atlas", "needs 5", "KiB are free", "as f16 it takes 2", "--precision f16", "--fit"];
    trace(&scratch, "5000000", &[]).fails(&model);
    let pass =
        ["a pass over 60 tokens and back", "needs 3", "KiB are free", "--layers", "--precision f16", "--fit"];
    trace(&scratch, "6500000", &[]).fails(&pass);
    assert!(scratch.names().is_empty());
}

#[test]
fn fit_takes_halves_then_fewer_layers_and_says_so() {
    let scratch = Scratch::new();
    let note = "note: the weight matrices are f16 on the device";
    let fitted = |bytes: &str| {
        let run = trace(&scratch, bytes, &["--fit", "--json"]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        (document, run.stderr)
    };
    let (roomy, said) = fitted("100000000");
    assert!(said.is_empty() && roomy.get("fitted").is_none(), "{said}");
    let (halved, said) = fitted("6500000");
    assert_eq!(halved["fitted"], json!({"precision": "f16"}));
    assert!(said.starts_with(note) && said.lines().count() == 1, "{said}");
    assert_eq!(halved["layers"].as_array().unwrap().len(), 4);
    let (fewer, said) = fitted("5500000");
    assert_eq!(fewer["fitted"], json!({"precision": "f16", "layers": [3]}));
    assert!(said.contains("note: only layer 3 is kept"), "{said}");
    let page = trace(&scratch, "5500000", &["--fit"]).stdout;
    assert!(page.contains("--fit: the weight matrices are f16; only layer 3 is kept"), "{page}");
    assert_eq!((&fewer["loss"], &fewer["layers"][0]), (&halved["loss"], &halved["layers"][3]));
}
