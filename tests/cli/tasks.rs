//! `attention`, `mediate`, `perturb`, `patch` and `report` on prompts and tasks of the shipped model.

use crate::harness::{Run, Scratch, fixture, retrograd};
use serde_json::Value;

/// A task small enough to run whole.
fn task(scratch: &Scratch) -> String {
    let pairs = [
        ("France", "Paris"),
        ("Italy", "Rome"),
        ("Spain", "Madrid"),
        ("Japan", "Tokyo"),
        ("China", "Beijing"),
    ];
    let more =
        [("Egypt", "Cairo"), ("Greece", "Athens"), ("Norway", "Oslo"), ("Cuba", "Havana"), ("Peru", "Lima")];
    let entries: Vec<Value> =
        pairs.iter().chain(&more).map(|(i, o)| serde_json::json!({"input": i, "output": o})).collect();
    scratch.file("capitals.json", Value::from(entries).to_string().as_bytes())
}

fn on_task(command: &str, scratch: &Scratch, flags: &[&str]) -> Run {
    retrograd(&[&[command, &task(scratch)], flags].concat())
}

#[test]
fn mediation_of_a_prompt_agrees_with_ablated_traces() {
    let model = fixture("untied");
    let base = ["--model", &model, "--ids", "81,73,33,71,27", "--target-id", "7"];
    let report = retrograd(&[&["mediate"], &base[..], &["--json"]].concat()).json();
    assert_eq!(report["schema"], "retrograd-mediate/1");
    assert_eq!(report["tokens"][1]["id"], 73);
    assert_eq!(report["target"]["id"], 7);
    let heads = report["heads"].as_array().unwrap();
    assert_eq!(heads.len(), 10);
    let probability = |flags: &[&str]| {
        let trace = retrograd(&[&["trace"], &base[..], flags, &["--json"]].concat()).json();
        (-trace["loss"].as_f64().unwrap()).exp()
    };
    let whole = probability(&[]);
    for head in [&heads[0], &heads[9]] {
        let name = format!("{}.{}", head["layer"], head["head"]);
        let wanted = probability(&["--ablate", &name]) - whole;
        let found = head["indirect_effect"].as_f64().unwrap();
        assert!((found - wanted).abs() < 1e-5 * whole.max(wanted.abs()), "{name}: {found}, {wanted}");
    }
    let page = retrograd(&[&["mediate"], &base[..]].concat()).succeeds();
    assert!(page.contains("head silenced") && page.contains("L0H"), "{page}");
}

#[test]
fn several_targets_share_a_forward_pass() {
    let prompt = ["The capital of France is", "--target", " Paris"];
    let several = retrograd(&[&["attention"], &prompt[..], &["--also", " Rome", "--json"]].concat()).json();
    let alone = retrograd(&[&["attention"], &prompt[..], &["--json"]].concat()).json();
    let first = &several["objectives"][0];
    assert_eq!(first["target"]["text"], " Paris");
    assert_eq!(several["objectives"][1]["target"]["text"], " Rome");
    for (a, b) in first["heads"].as_array().unwrap().iter().zip(alone["heads"].as_array().unwrap()) {
        let norm = |head: &Value| head["reversed_norm"].as_f64().unwrap();
        assert_eq!((&a["layer"], &a["head"]), (&b["layer"], &b["head"]));
        assert!((norm(a) / norm(b) - 1.0).abs() < 1e-4);
    }
    let page = retrograd(&[&["attention"], &prompt[..], &["--also", " Rome"]].concat()).succeeds();
    assert!(page.contains("' Rome'") && page.contains("loss"), "{page}");
}

#[test]
fn attention_writes_figures_tables_and_maps() {
    let scratch = Scratch::new();
    let (svg, png, csv, out) =
        (scratch.path("a.svg"), scratch.path("a.png"), scratch.path("a.csv"), scratch.path("a.safetensors"));
    let files = ["--svg", &svg, "--png", &png, "--csv", &csv, "--out", &out];
    retrograd(&[&["attention", "The capital of France is", "--target", " Paris"], &files[..]].concat())
        .succeeds();
    let svg_text = std::fs::read_to_string(&svg).unwrap();
    assert!(svg_text.starts_with("<svg") && svg_text.contains("more attention lowers the loss"));
    assert_eq!(&std::fs::read(&png).unwrap()[1..4], b"PNG");
    let table = std::fs::read_to_string(&csv).unwrap();
    assert!(table.starts_with("reversed,head,layer 0,layer 1,layer 2,layer 3\nreversed,0,"), "{table}");
    assert_eq!(table.lines().count(), 10);
    // Its maps are a patch.
    let patched = ["--patch", &out, "--alpha", "-5", "--json"];
    retrograd(&[&["trace", "The capital of France is", "--target", " Paris"], &patched[..]].concat()).json();

    let (mean, shots) = (scratch.path("mean.safetensors"), ["--shots", "1"]);
    let task = task(&scratch);
    let report = retrograd(
        &[&["attention", "--task", &task, "--json", "--out", &mean, "--svg", &svg], &shots[..]].concat(),
    )
    .json();
    assert_eq!(report["schema"], "retrograd-attention/1");
    assert_eq!((report["span"].as_str(), report["prompts"].as_u64()), (Some("prompt"), Some(5)));
    assert_eq!(report["heads"].as_array().unwrap().len(), 16);
    assert!(report["heads"][0]["reversed_std"].as_f64().unwrap() > 0.0);
    assert!(scratch.exists("mean.std.safetensors"));
}

#[test]
fn perturbation_keeps_nothing_at_0_and_everything_at_100_percent() {
    let scratch = Scratch::new();
    let flags = ["--shots", "2", "--keep", "0,50,100", "--random-draws", "3"];
    let report = on_task("perturb", &scratch, &[&flags[..], &["--json"]].concat()).json();
    assert_eq!(report["schema"], "retrograd-perturb/1");
    let orderings = report["orderings"].as_object().unwrap();
    assert_eq!(orderings.len(), 6);
    for (name, curve) in orderings {
        let ends = [&curve[0], &curve[2]].map(|point| point["accuracy"].clone());
        let reference = &orderings["reversed"];
        assert_eq!(ends, [&reference[0], &reference[2]].map(|point| point["accuracy"].clone()), "{name}");
        assert_eq!(curve[1]["kept_fraction"], 0.5);
        assert!(report["auc"][name].as_f64().unwrap() <= 1.0);
    }
    assert_eq!(report["reverse"].as_object().unwrap().len(), 5);
    assert_eq!(report["random_draws"].as_array().unwrap().len(), 3);
    let (csv, svg) = (scratch.path("p.csv"), scratch.path("p.svg"));
    let page =
        on_task("perturb", &scratch, &[&flags[..], &["--csv", &csv, "--svg", &svg]].concat()).succeeds();
    assert!(page.contains("most important heads kept"), "{page}");
    assert!(std::fs::read_to_string(&csv).unwrap().contains("reversed,least important,0.5,"));
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg"));
}

const SWEEP: [&str; 6] = ["--shots", "0,1", "--alphas=-1,-5", "--maps", "reversed", "--draws=2"];

#[test]
fn a_sweep_goes_on_to_the_same_result() {
    let scratch = Scratch::new();
    let whole = on_task("patch", &scratch, &[&SWEEP[..], &["--json"]].concat()).json();
    assert_eq!(whole["schema"], "retrograd-patch/1");
    let sweep = whole["sweep"].as_array().unwrap();
    assert_eq!(sweep.len(), 2 * 3);
    assert_eq!((sweep[0]["alpha"].as_f64(), sweep[0]["map"].as_str()), (Some(0.0), Some("reversed")));
    assert_eq!(whole["best"].as_array().unwrap().len(), 2);

    // Broken off after the first number of shots: what an interrupted run leaves behind.
    let progress = scratch.path("progress.json");
    let resumed = [&SWEEP[..], &["--json", "--resume", &progress]].concat();
    let first = on_task("patch", &scratch, &resumed).json();
    assert_eq!(first, whole);
    let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&progress).unwrap()).unwrap();
    assert!(kept["done"].as_object_mut().unwrap().remove("1 shots, reversed").is_some());
    std::fs::write(&progress, kept.to_string()).unwrap();
    assert_eq!(on_task("patch", &scratch, &resumed).json(), whole);
    // Other options are another run.
    let other = [&SWEEP[..], &["--json", "--resume", &progress, "--seed", "4"]].concat();
    on_task("patch", &scratch, &other).fails(&["progress.json", "seed", "another directory"]);
}

#[test]
fn a_report_is_a_directory_that_is_not_computed_twice() {
    let scratch = Scratch::new();
    let out = scratch.path("findings");
    let flags = ["--out", &out, "--shots-ranked", "1", "--keep", "0,50,100", "--random-draws", "2"];
    let flags = [&flags[..], &["--shots", "0", "--alphas=-2,-8"]].concat();
    let page = on_task("report", &scratch, &flags).succeeds();
    assert!(page.contains("capitals") && page.contains("‖R‖"), "{page}");
    for file in ["README.md", "manifest.json", "capitals/report.md", "capitals/progress.json"] {
        assert!(scratch.exists(&format!("findings/{file}")), "{file}");
    }
    for figure in ["heads", "perturb", "patch"] {
        for kind in ["svg", "png", "csv"] {
            assert!(scratch.exists(&format!("findings/capitals/{figure}.{kind}")), "{figure}.{kind}");
        }
    }
    let read = |file: &str| std::fs::read(scratch.path(&format!("findings/{file}"))).unwrap();
    let (before, manifest) = (read("capitals/report.md"), read("manifest.json"));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["tasks"][0]["shots_ranked"], 1);
    assert_eq!(on_task("report", &scratch, &flags).succeeds(), page);
    assert_eq!(read("capitals/report.md"), before);
    let other = [&flags[..], &["--draws", "2"]].concat();
    on_task("report", &scratch, &other).fails(&["draws", "another directory"]);
}

#[test]
fn bad_tasks() {
    let scratch = Scratch::new();
    let file = |content: &str| scratch.file("bad.json", content.as_bytes());
    let patch = |task: &str, flags: &[&str]| retrograd(&[&["patch", task], flags].concat());
    patch("no-such-task", &[]).fails(&["no-such-task", "country-capital"]);
    patch(&file("{}"), &[]).fails(&["bad.json", "is not a list"]);
    patch(&file(r#"[{"input": "a", "output": "b"}, {"input": "a"}]"#), &[])
        .fails(&["entry 1", "output is missing"]);
    let long = r#"[{"input": "a", "output": "of the city of the sea"}, {"input": "b", "output": "c"}, {"input": "d", "output": "e"}]"#;
    patch(&file(long), &["--shots", "0"]).fails(&["entry 0", "tokens", "--span answer"]);
    let task = task(&scratch);
    patch(&task, &["--shots", "6"]).fails(&["shots", "6 demonstrations", "capitals"]);
    patch("country-capital", &["--shots", "30"]).fails(&["30 demonstrations", "128 positions"]);
    patch(&task, &["--shots", "0", "--alphas", "1,nan"]).fails(&["--alphas", "not a finite number"]);
    patch(&task, &["--shots", "0", "--heads", "9.0"]).fails(&["--heads 9.0", "layers 0 to 3"]);
    patch(&task, &["--split", "0.9,0.1"]).fails(&["split", "no test part"]);
    patch(&task, &["--draws", "0"]).fails(&["--draws"]);
    patch(&task, &["--adapter", "reference"]).fails(&["reference", "device"]);
    let perturb = |flags: &[&str]| retrograd(&[&["perturb", &task], flags].concat());
    perturb(&["--orderings", "size"]).fails(&["'size'", "reversed"]);
    perturb(&["--keep", "50,120"]).fails(&["--keep", "120"]);
    let mediate = |flags: &[&str]| retrograd(&[&["mediate"], flags].concat());
    mediate(&["--task", &task, "--shots", "1", "--ablation", "mean"]).fails(&["shots", "2 at least"]);
    mediate(&["The capital of France is"]).fails_with(2, &["--target"]);
    mediate(&["The capital of France is", "--next-token"]).fails_with(2, &["one token"]);
    mediate(&["The capital of France is", "--target", " Paris", "--ablation", "mean"])
        .fails_with(2, &["--task"]);
    retrograd(&["report", &task, "--out", &scratch.file("file", b"")]).fails(&["not a directory"]);
}
