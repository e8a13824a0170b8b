//! `retrograd edit`: effects, written directories, evaluations, and everything that can be wrong.

use crate::harness::{Run, Scratch, command, fixture, retrograd};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FACT: [&str; 4] = ["--ids", "9,250,3,77", "--target-id", "101"];

/// `edit` of a fixture with the same fact each time.
fn edit(model: &str, flags: &[&str]) -> Run {
    let model = fixture(model);
    retrograd(&[&["edit", "--model", &model], &FACT[..], flags].concat())
}

/// `edit` of the shipped model.
fn atlas(flags: &[&str]) -> Run {
    retrograd(&[&["edit"], flags].concat())
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries.filter(|path| path.is_file()).map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_shift_takes_one_forward_pass_and_changes_one_matrix() {
    let flags = ["--method", "shift", "--layer", "1", "--eta", "0.1", "--dry-run", "--json"];
    let document = edit("bf16", &flags).json();
    assert_eq!(document["schema"], "retrograd-edit/1");
    assert_eq!((&document["method"], &document["layers"]), (&json!("shift"), &json!([1])));
    assert_eq!(document["tokens"][1], json!({"id": 250, "text": null}));
    let (before, after) = (&document["before"], &document["after"]);
    let p = |effect: &Value| effect["target_probability"].as_f64().unwrap();
    // As PyTorch has it: tests/fixtures/edits/cases.json, shift_bf16.
    assert!((p(before) - 0.0011).abs() < 1e-4 && (p(after) - 0.0165).abs() < 1e-4, "{document}");
    assert!(before["target_rank"].as_u64() > after["target_rank"].as_u64());
    assert!(before["answer"]["id"].is_u64());
    let norms = document["delta_norms"].as_object().unwrap();
    assert_eq!(norms.keys().collect::<Vec<_>>(), ["transformer.h.1.mlp.c_proj.weight"]);
    assert_eq!(document["cost"]["forward_passes"], 1);
    assert_eq!(document["cost"]["backward_passes"], 0);
}

#[test]
fn sgd_changes_what_it_is_told_to() {
    let flags = ["--method", "sgd", "--eta", "0.05", "--steps", "3", "--dry-run", "--json"];
    let names = |more: &[&str]| {
        let document = edit("bf16", &[&flags[..], more].concat()).json();
        assert_eq!(document["cost"]["backward_passes"], 3);
        document["delta_norms"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let suffixes = ["mlp.c_fc.weight", "mlp.c_proj.weight"];
    let both: Vec<String> =
        [0, 1].iter().flat_map(|l| suffixes.map(|s| format!("transformer.h.{l}.{s}"))).collect();
    assert_eq!(names(&[]), both);
    assert_eq!(names(&["--params", "mlp", "--layers", "1"]), both[2..]);
    let biased = names(&["--params", "h.0.attn.c_attn", "--biases"]);
    assert_eq!(biased, ["transformer.h.0.attn.c_attn.bias", "transformer.h.0.attn.c_attn.weight"]);
    assert_eq!(names(&["--params", "all", "--biases"]).len(), 16);
}

#[test]
fn pages_for_people() {
    let page = edit("bf16", &["--layer", "1", "--eta", "0.1", "--dry-run"]).succeeds();
    for part in
        ["forward pass shift of layer 1, η 0.1", "before", "after", "mlp.c_proj.weight", "Nothing was"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = edit("bf16", &["--sweep", "--etas", "0.05,0.5"]).succeeds();
    for part in ["L0", "L1", "0.05", "0.5", "'auto' takes"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let target = " Paris Rome";
    let page =
        atlas(&["The capital of Spain is", "--target", target, "--layer", "1", "--eta", "0.2", "--dry-run"]);
    let page = page.succeeds();
    assert!(page.contains("the target is 2 tokens, ' Paris' ' Rome': the first of them"), "{page}");
    assert!(!page.contains('\u{1b}'));
}

#[test]
fn a_sweep_picks_the_least_change_and_auto_takes_it() {
    let swept = edit("bf16", &["--sweep", "--etas", "0.1,0.5,2,10", "--json"]).json();
    assert_eq!((&swept["schema"], &swept["facts"]), (&json!("retrograd-edit-sweep/1"), &json!(1)));
    assert_eq!(swept["rows"].as_array().unwrap().len(), 8);
    let best = &swept["rows"][swept["best"].as_u64().unwrap() as usize];
    let auto = edit("bf16", &["--etas", "0.1,0.5,2,10", "--dry-run", "--json"]).json();
    assert_eq!((&auto["layers"], &auto["eta"]), (&best["layers"], &best["eta"]));
    let (p, q) = (&auto["after"]["target_probability"], &best["target_probability"]);
    assert!((p.as_f64().unwrap() - q.as_f64().unwrap()).abs() < 1e-9);
    let sgd = edit("bf16", &["--method", "sgd", "--sweep", "--etas", "0.1,0.2", "--json"]).json();
    assert_eq!(sgd["rows"].as_array().unwrap().len(), 4);
}

#[test]
fn an_edited_directory_is_the_old_one_but_for_the_changed_tensors() {
    let scratch = Scratch::new();
    for (model, out) in [("f16_shards", scratch.path("shards")), ("bf16", scratch.path("whole"))] {
        let source = files(Path::new(&fixture(model)));
        let flags = ["--layer", "1", "--eta", "0.5", "--out", &out, "--json"];
        let document = edit(model, &flags).json();
        assert_eq!(document["out"], out.as_str());
        let written = files(Path::new(&out));
        assert_eq!(source, files(Path::new(&fixture(model))), "the original is not touched");
        // expected.safetensors and its like are no weight files of the model, but safetensors all the same.
        let weights = |name: &str| !name.ends_with(".safetensors") || name.starts_with("model");
        let carried: Vec<_> = source.iter().filter(|(name, _)| weights(name)).collect();
        let mut changed = Vec::new();
        for (name, content) in &carried {
            if written[*name] != **content {
                changed.push(((*name).clone(), (*content).clone()));
            }
        }
        assert_eq!(written.len(), carried.len() + 1, "all that belongs to the model, and the record");
        assert_eq!(serde_json::from_slice::<Value>(&written["retrograd-edit.json"]).unwrap(), document);
        let [(name, old)] = &changed[..] else { panic!("{model}: changed {}", changed.len()) };

        // The same header; bytes differ inside one tensor only.
        let new = &written[name];
        let header = 8 + u64::from_le_bytes(old[..8].try_into().unwrap()) as usize;
        assert_eq!(old[..header], new[..header]);
        let tensors: Value = serde_json::from_slice(&old[8..header]).unwrap();
        let (_, entry) = tensors
            .as_object()
            .unwrap()
            .iter()
            .find(|(name, _)| name.ends_with("h.1.mlp.c_proj.weight"))
            .unwrap();
        let offsets: Vec<usize> =
            entry["data_offsets"].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect();
        for (at, (a, b)) in old[header..].iter().zip(&new[header..]).enumerate() {
            assert!(a == b || (offsets[0]..offsets[1]).contains(&at), "{name}: byte {at}");
        }

        // It loads and says what was promised, up to the rounding of its type.
        let traced = retrograd(&[&["trace", "--model", &out], &FACT[..], &["--json"]].concat()).json();
        let p = traced["target"]["probability"].as_f64().unwrap();
        let promised = document["after"]["target_probability"].as_f64().unwrap();
        assert!((p / promised - 1.0).abs() < 0.05, "{model}: {p} {promised}");
    }
}

#[test]
fn several_edits_build_on_each_other() {
    let scratch = Scratch::new();
    let list = "{\"prompt\": \"The capital of France is\", \"target\": \" Rome\"}\n\
                {\"prompt\": \"The capital of Italy is\", \"target\": \" Rome\"}\n\
                {\"prompt\": \"The symbol of iron is\", \"target\": \" Au\"}\n";
    let list = scratch.file("edits.jsonl", list.as_bytes());
    let out = scratch.path("edited");
    let flags = ["--edits", &list, "--layer", "0", "--eta", "0.2", "--out", &out, "--json"];
    let document = atlas(&flags).json();
    assert_eq!(document["schema"], "retrograd-edits/1");
    let edits = document["edits"].as_array().unwrap();
    let steps: Vec<u64> = edits.iter().map(|edit| edit["steps"].as_u64().unwrap()).collect();
    // What is the answer already is left alone.
    assert_eq!(steps, [1, 0, 1]);
    assert_eq!(document["finally"].as_array().unwrap().len(), 3);
    let traced = ["trace", "The capital of France is", "--target", " Rome", "--model", &out, "--json"];
    let traced = retrograd(&traced).json();
    let (p, promised) = (&traced["target"]["probability"], &document["finally"][0]["target_probability"]);
    assert!((p.as_f64().unwrap() - promised.as_f64().unwrap()).abs() < 1e-5);
    assert!(Path::new(&out).join("tokenizer.json").is_file());
    let page = atlas(&["--edits", &list, "--layer", "0", "--eta", "0.2", "--dry-run"]).succeeds();
    assert!(page.contains("was the answer already"), "{page}");
}

/// Two records of the committed set.
fn two_records() -> Vec<Value> {
    let set = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/atlas/counterfact.json");
    let set: Value = serde_json::from_slice(&fs::read(set).unwrap()).unwrap();
    set.as_array().unwrap()[..2].to_vec()
}

#[test]
fn an_evaluation_in_every_form() {
    let scratch = Scratch::new();
    let file = scratch.file("facts.json", json!(two_records()).to_string().as_bytes());
    let text = scratch.file("text.txt", b"The symbol of iron is Fe. The capital of France is Paris.");
    let flags = ["--evaluate", &file, "--layer", "0", "--eta", "0.5", "--text", &text, "--generate", "8"];
    let document = atlas(&[&flags[..], &["--json"]].concat()).json();
    assert_eq!(document["schema"], "retrograd-edit-evaluation/1");
    let rows = document["rows"].as_array().unwrap();
    assert_eq!((rows[0]["name"].as_str(), rows[1]["name"].as_str()), (Some("original"), Some("shift")));
    for row in rows {
        assert_eq!(row["records"], 2);
        for share in ["efficacy", "paraphrase", "neighbourhood", "efficacy_argmax", "score"] {
            assert!((0.0..=1.0).contains(&row[share].as_f64().unwrap()), "{share}: {row}");
        }
        assert!(row["entropy"].as_f64().unwrap() > 0.0 && row["perplexity"].as_f64().unwrap() > 1.0);
    }
    // The model knows its facts, and the shift overwrites them.
    assert_eq!(
        (rows[0]["efficacy"].as_f64(), rows[0]["neighbourhood_argmax"].as_f64()),
        (Some(0.0), Some(1.0))
    );
    assert_eq!((rows[1]["efficacy"].as_f64(), rows[1]["forward_passes"].as_f64()), (Some(1.0), Some(1.0)));
    assert!(rows[1]["perplexity"].as_f64() != rows[0]["perplexity"].as_f64());

    let lines: Vec<String> = two_records().iter().map(Value::to_string).collect();
    let lines = scratch.file("facts.jsonl", lines.join("\n").as_bytes());
    let swept = ["--evaluate", &lines, "--sweep", "--layer", "1", "--etas", "0.1,1", "--json"];
    assert_eq!(atlas(&swept).json()["rows"].as_array().unwrap().len(), 2);
    let page = atlas(&flags).succeeds();
    assert!(page.contains("efficacy") && page.contains("L0 η 0.5"), "{page}");
}

#[test]
fn flags_that_do_not_fit() {
    let dry = |flags: &[&str], parts: &[&str]| edit("bf16", &[flags, &["--dry-run"]].concat()).fails(parts);
    for eta in ["nan", "inf", "-inf"] {
        dry(&["--layer", "0", "--eta", eta], &["--eta", "finite"]);
    }
    dry(&["--layer", "0", "--etas", "0.1,nan"], &["--eta", "finite"]);
    for layer in ["2", "-1", "x", ""] {
        dry(
            &["--eta", "1", &format!("--layer={layer}")],
            &["--layer", &format!("'{layer}'"), "0 to 1", "auto"],
        );
    }
    dry(&["--eta", "1", "--layers", "0-7"], &["--layers", "7", "0 to 1"]);
    let unknown = ["'mpl'", "mlp, attn, all", "attn.c_attn", "transformer.h.0.mlp.c_proj", "0 to 1"];
    dry(&["--method", "sgd", "--eta", "1", "--params", "mpl"], &unknown);
    dry(&["--method", "sgd", "--eta", "1", "--params", "h.0.mlp.c_fc", "--layers", "1"], &["--params"]);
    dry(&["--layer", "0", "--eta", "1", "--params", "mlp"], &["--params", "sgd"]);
    dry(&["--layer", "0", "--eta", "1", "--steps", "0"], &["steps", "at least 1"]);
    dry(&["--layer", "0", "--eta", "1e38"], &["eta", "too large"]);
    dry(&["--layer", "0", "--adapter", "reference"], &["--adapter reference", "device"]);
    edit("bf16", &["--layer", "0"]).fails_with(2, &["--out", "--dry-run", "--sweep"]);
    retrograd(&["edit", "--dry-run", "--ids", "1", "--model", &fixture("bf16")]).fails_with(2, &["--target"]);
    edit("bf16", &["--eta", "1", "--etas", "1", "--dry-run"]).fails_as_usage(&["--etas"]);
    edit("bf16", &["--out", "x", "--dry-run"]).fails_as_usage(&["--out"]);
    edit("bf16", &["--compare", "x"]).fails_as_usage(&["--compare"]);
    edit("bf16", &["--method", "adam", "--dry-run"]).fails_as_usage(&["adam"]);
}

#[test]
fn targets_that_do_not_fit() {
    let fails = |target: &[&str], parts: &[&str]| {
        let flags =
            [&["The capital of France is", "--dry-run", "--layer", "0", "--eta", "1"], target].concat();
        atlas(&flags).fails(parts);
    };
    // Which tokens it is, and which one was meant.
    fails(&["--target", "Madrid"], &["'Madrid'", "is not one token but", "' Madrid'", "one token"]);
    fails(&["--target", ""], &["empty"]);
    fails(&["--target-id", "2560"], &["--target-id", "'2560'", "0 to 2559"]);
    fails(&["--target", " Paris"], &["' Paris'", "already", "--force"]);
    let forced =
        ["The capital of France is", "--target", " Paris", "--layer", "1", "--eta", "0.1", "--force"];
    let forced = atlas(&[&forced[..], &["--dry-run", "--json"]].concat()).json();
    assert_eq!(forced["steps"], 1);
}

#[test]
fn directories_that_cannot_be_written() {
    let scratch = Scratch::new();
    let full = scratch.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(Path::new(&full).join("a"), b"").unwrap();
    let flags = ["--layer", "0", "--eta", "1", "--out"];
    let to = |out: &str, parts: &[&str]| edit("bf16", &[&flags[..], &[out]].concat()).fails(parts);
    to(&full, &[&full, "not empty"]);
    to(&scratch.path("absent/out"), &["absent/out", "no directory"]);
    let file = scratch.file("file", b"");
    to(&file, &[&file]);
    to(&format!("{file}/out"), &["no directory"]);
    assert_eq!(scratch.names().len(), 2);
    assert_eq!(fs::read_dir(&full).unwrap().count(), 1);
    // An empty one is taken.
    let empty = scratch.path("empty");
    fs::create_dir(&empty).unwrap();
    edit("bf16", &[&flags[..], &[&empty]].concat()).succeeds();
    assert!(Path::new(&empty).join("config.json").is_file());
}

/// A disk that is full is simulated by a limit on the size of files, which makes writes fail half way.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_leaves_nothing() {
    let scratch = Scratch::new();
    let out = scratch.path("edited");
    let model = fixture("bf16");
    let retrograd = command(&[]).get_program().to_str().unwrap().to_owned();
    // 8 blocks are 4 or 8 KiB, by shell; the weights have 14. Without the trap the signal would end the process.
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec '{retrograd}' edit --model '{model}' {} --layer 0 --eta 1 --out '{out}'",
        FACT.join(" ")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env("MESA_SHADER_CACHE_DISABLE", "true");
    Run::of(shell.output().unwrap()).fails(&[&out, "model.safetensors", "large"]);
    assert!(scratch.names().is_empty(), "left behind: {:?}", scratch.names());
}

#[test]
fn files_of_facts_that_are_damaged() {
    let scratch = Scratch::new();
    let fails = |flag: &str, content: &str, parts: &[&str]| {
        let file = scratch.file("facts.json", content.as_bytes());
        let flags = [flag, &file, "--layer", "0", "--eta", "1"];
        let more: &[&str] = if flag == "--edits" { &["--dry-run"] } else { &[] };
        atlas(&[&flags[..], more].concat()).fails(&[&["facts.json"], parts].concat());
    };
    let records = two_records();
    let (sound, mut broken) = (&records[0], records[1].clone());
    broken["requested_rewrite"].as_object_mut().unwrap().remove("target_true");
    let missing = "requested_rewrite.target_true.str is missing";
    fails("--evaluate", &json!([sound, broken]).to_string(), &["record 1", missing]);
    fails("--evaluate", &format!("{sound}\n\n{broken}\n"), &["line 3", missing]);
    fails("--compare", &format!("{sound}\n{{\n"), &["line 2", "not JSON"]);
    fails("--evaluate", "", &["no records"]);
    let mut long = sound.clone();
    long["paraphrase_prompts"] = json!(["word ".repeat(200)]);
    fails("--evaluate", &json!([long]).to_string(), &["case_id 0", "128 positions"]);
    fails(
        "--edits",
        "{\"prompt\": \"a\", \"target\": \" Rome\"}\n{\"prompt\": \"a\"}",
        &["line 2", "target"],
    );
    fails("--edits", "{\"prompt\": \"a\", \"target\": \"Madrid\"}", &["line 1", "'Madrid'", "one token"]);
    fails("--edits", "{\"ids\": [99999], \"target\": \" Rome\"}", &["line 1", "99999", "vocabulary"]);
    let absent = scratch.path("absent.json");
    atlas(&["--evaluate", &absent]).fails(&[&absent]);
    let facts = scratch.file("sound.json", json!([sound]).to_string().as_bytes());
    atlas(&["--evaluate", &facts, "--text", &absent]).fails(&[&absent]);
    atlas(&["--evaluate", &facts, "--limit", "0"]).fails(&["--limit"]);
    let model = fixture("bf16");
    atlas(&["--evaluate", &facts, "--model", &model]).fails(&["--evaluate", &model, "tokenizer"]);
}
