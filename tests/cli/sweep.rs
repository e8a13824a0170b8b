//! `sweep`: tables in, Parquet out.

use crate::harness::{Run, Scratch, fixture, retrograd};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Prompts of three lengths, and some rows that cannot be traced (2, 5, 7, 8).
const TABLE: &str = r#"{"id": "a", "prompt": "The capital of France is", "target": " Paris", "weight": 0.5}
{"id": "b", "prompt": "The capital of Italy is", "target": " Rome", "weight": 2}

{"id": "c", "prompt": "The capital of Japan is", "target": " the city of Tokyo", "weight": 3}
{"id": "d", "prompt": "The plural of cat is", "target": " cats", "weight": 4}
{"id": "e", "prompt": "The capital of the country France is", "target": " Paris", "note": "longer"}
{"id": "f", "prompt": "", "target": " Paris"}
{"id": "g", "prompt": "The capital of Spain", "completion": " is Madrid"}
not JSON
{"id": "a", "prompt": "The capital of Peru is", "target": " Lima"}
{"id": "h", "ids": [12, 34, 56], "target_id": 7}
"#;

fn sweep(table: &str, out: &str, flags: &[&str]) -> Run {
    retrograd(&[&["sweep", table, "--out", out], flags].concat())
}

fn parts(out: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path());
    let mut parts: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).collect();
    parts.sort();
    parts
}

fn batches(out: &str) -> Vec<RecordBatch> {
    let read = |path: &PathBuf| {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    parts(out).iter().flat_map(read).collect()
}

/// Every cell as text, by the row's id and the column; numbers with all of their digits.
fn cells(out: &str) -> BTreeMap<(String, String), String> {
    let mut cells = BTreeMap::new();
    for batch in batches(out) {
        let format =
            |column: &dyn Array, row| arrow_cast::display::array_value_to_string(column, row).unwrap();
        let ids = batch.column_by_name("id").unwrap();
        for row in 0..batch.num_rows() {
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let place = (format(ids, row), field.name().clone());
                assert!(cells.insert(place, format(column, row)).is_none(), "a row came twice");
            }
        }
    }
    cells
}

fn rejects(out: &str) -> Vec<Value> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(".rejects.jsonl"));
    paths.sort();
    let texts = paths.iter().map(|path| std::fs::read_to_string(path).unwrap());
    texts
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn rows_have_what_a_trace_of_each_has_and_bad_ones_are_put_aside() {
    let scratch = Scratch::new();
    let table = scratch.file("table.jsonl", TABLE.as_bytes());
    let out = scratch.path("out");
    let report = sweep(&table, &out, &["--json", "--lens", "mlp.c_proj.delta"]).json();
    assert_eq!(report["schema"], "retrograd-sweep/1");
    assert_eq!((&report["rows"], &report["rejected"]), (&json!(6), &json!(4)));
    let batch = &batches(&out)[0];
    let ids: Vec<&str> = batch["id"].as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["a", "b", "d", "e", "g", "h"]);
    assert_eq!(batch["weight"].as_primitive::<Float64Type>().value(1), 2.0);
    assert!(batch["weight"].is_null(3) && batch["note"].as_string::<i32>().value(3) == "longer");

    let prompt = ["The capital of the country France is", "--target", " Paris"];
    let trace = retrograd(&[&["trace"], &prompt[..], &["--json"]].concat()).json();
    let near = |what: &str, found: f64, wanted: &Value| {
        let wanted = wanted.as_f64().unwrap();
        assert!((found - wanted).abs() <= 2e-6 * wanted.abs().max(1e-3), "{what}: {found}, {wanted}");
    };
    let row = 3;
    near("loss", batch["loss"].as_primitive::<Float32Type>().value(row).into(), &trace["loss"]);
    assert_eq!(batch["answer"].as_string::<i32>().value(row), trace["answer"]["text"].as_str().unwrap());
    let probability = batch["answer_probability"].as_primitive::<Float64Type>().value(row);
    near("answer", probability, &trace["answer"]["probability"]);
    let rank = batch["target_rank"].as_primitive::<Int32Type>().value(row);
    assert_eq!(json!(rank), trace["target"]["rank"]);
    for head in trace["heads"].as_array().unwrap() {
        let (layer, at) = (head["layer"].as_u64().unwrap() as usize, head["head"].as_u64().unwrap() as usize);
        for name in ["pattern_norm", "reversed_norm"] {
            let layers = batch[name].as_list::<i32>().value(row);
            let heads = layers.as_list::<i32>().value(layer);
            near(name, heads.as_primitive::<Float32Type>().value(at).into(), &head[name]);
        }
    }
    for (layer, norms) in trace["layers"].as_array().unwrap().iter().enumerate() {
        for (column, name) in [("attn_delta_norm", "attn.c_proj"), ("mlp_delta_norm", "mlp.c_proj")] {
            let list = batch[column].as_list::<i32>().value(row);
            near(column, list.as_primitive::<Float32Type>().value(layer).into(), &norms["delta_norms"][name]);
        }
    }
    let lens =
        retrograd(&[&["lens"], &prompt[..], &["--sites", "mlp.c_proj.delta", "--json"]].concat()).json();
    let position = lens["position"].as_u64().unwrap();
    for entry in lens["entries"].as_array().unwrap().iter().filter(|entry| entry["position"] == position) {
        let layer = entry["layer"].as_u64().unwrap() as usize;
        let ranks = batch["lens.mlp.c_proj.delta.target_rank"].as_list::<i32>().value(row);
        assert_eq!(json!(ranks.as_primitive::<Int32Type>().value(layer)), entry["target_rank"]);
        let bottom = batch["lens.mlp.c_proj.delta.bottom"].as_list::<i32>().value(row);
        assert_eq!(bottom.as_string::<i32>().value(layer), entry["bottom"][0]["text"].as_str().unwrap());
    }

    let rejects = rejects(&out);
    let rows: Vec<u64> = rejects.iter().map(|row| row["row"].as_u64().unwrap()).collect();
    assert_eq!(rows, [2, 5, 7, 8]);
    for (reject, part) in
        rejects.iter().zip(["' the city of Tokyo'", "is empty", "line 9", "is that of row 0"])
    {
        assert!(reject["reason"].as_str().unwrap().contains(part), "{reject}");
    }
    assert_eq!(rejects[0]["id"], "c");
}

#[test]
fn csv_and_parquet_hold_the_same_work() {
    let scratch = Scratch::new();
    let (prompts, targets) = (["The capital of France is", "The plural of cat is"], [" Paris", " cats"]);
    let lines = prompts.iter().zip(targets).enumerate();
    let jsonl: String = lines
        .clone()
        .map(|(at, (prompt, target))| {
            json!({"id": at + 7, "prompt": prompt, "target": target}).to_string() + "\n"
        })
        .collect();
    let csv: String = "id,prompt,target\n".to_owned()
        + &lines
            .map(|(at, (prompt, target))| format!("{},\"{prompt}\",\"{target}\"\n", at + 7))
            .collect::<String>();
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![7, 8])) as _),
        ("prompt", Arc::new(StringArray::from(prompts.to_vec())) as _),
        ("target", Arc::new(StringArray::from(targets.to_vec())) as _),
    ])
    .unwrap();
    let parquet = scratch.path("table.parquet");
    let mut writer = ArrowWriter::try_new(File::create(&parquet).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let tables =
        [scratch.file("table.jsonl", jsonl.as_bytes()), scratch.file("table.csv", csv.as_bytes()), parquet];
    let found = tables.each_ref().map(|table| {
        let out = format!("{table}.out");
        sweep(table, &out, &[]).succeeds();
        cells(&out)
    });
    assert_eq!(found[0].len(), 2 * 15);
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
    let page = sweep(&tables[0], &scratch.path("again"), &["--next-token"]).succeeds();
    assert!(page.contains("2 rows traced") && page.contains("wrote 1 of 1 parts"), "{page}");
    assert_ne!(cells(&scratch.path("again")), found[0]);
}

/// Prompts of several lengths: every country with another template.
fn capitals(scratch: &Scratch, rows: usize) -> String {
    let countries =
        ["France", "Italy", "Spain", "Japan", "China", "Egypt", "Greece", "Norway", "Cuba", "Peru"];
    let templates = ["The capital of {} is", "{} is a country in", "Q: {}\nA:"];
    let line = |row: usize| {
        let prompt = templates[row % 3].replace("{}", countries[row % countries.len()]);
        json!({"prompt": prompt, "target_id": row % 300, "n": row}).to_string() + "\n"
    };
    scratch.file("capitals.jsonl", (0..rows).map(line).collect::<String>().as_bytes())
}

#[test]
fn neither_batches_nor_shards_nor_a_resumed_run_change_a_bit() {
    let scratch = Scratch::new();
    let table = capitals(&scratch, 50);
    let (whole, single, shards) = (scratch.path("whole"), scratch.path("single"), scratch.path("shards"));
    sweep(&table, &whole, &["--lens", "resid_post"]).succeeds();
    sweep(&table, &single, &["--lens", "resid_post", "--one-by-one"]).succeeds();
    let cut = ["--lens", "resid_post", "--part-rows", "7"];
    for shard in ["2/3", "1/3", "3/3"] {
        sweep(&table, &shards, &[&cut[..], &["--shard", shard]].concat()).succeeds();
    }
    assert_eq!(parts(&shards).len(), 8);
    let wanted = cells(&whole);
    assert_eq!(wanted.len(), 50 * (4 + 12 + 4));
    assert_eq!(cells(&single), wanted);
    assert_eq!(cells(&shards), wanted);
    let rows: Vec<i64> = batches(&shards)
        .iter()
        .flat_map(|batch| batch["id"].as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(rows, (0..50).collect::<Vec<_>>());

    sweep(&table, &shards, &cut).fails(&["8 of 8 parts", "--resume"]);
    let lost = parts(&shards)[3].clone();
    let bytes = std::fs::read(&lost).unwrap();
    std::fs::remove_file(&lost).unwrap();
    // As a killed process leaves it.
    std::fs::write(Path::new(&shards).join(".retrograd-x.partial"), b"half").unwrap();
    let times = |paths: Vec<PathBuf>| -> Vec<_> {
        let time = |path: PathBuf| path.metadata().unwrap().modified().unwrap();
        paths.into_iter().filter(|path| *path != lost).map(time).collect()
    };
    let before = times(parts(&shards));
    let report = sweep(&table, &shards, &[&cut[..], &["--resume", "--json"]].concat()).json();
    assert_eq!(
        (&report["parts"], &report["parts_before"], &report["rows"]),
        (&json!(1), &json!(7), &json!(7))
    );
    assert_eq!(times(parts(&shards)), before);
    assert_eq!(std::fs::read(&lost).unwrap(), bytes);
    let report = sweep(&table, &shards, &[&cut[..], &["--resume", "--json"]].concat()).json();
    assert_eq!(report["parts"], 0);
}

#[test]
fn what_is_wrong_with_a_table_or_a_directory_is_said_first() {
    let scratch = Scratch::new();
    let out = scratch.path("out");
    let table = |name: &str, content: &str| scratch.file(name, content.as_bytes());
    sweep(&scratch.path("absent.jsonl"), &out, &[]).fails(&["absent.jsonl"]);
    sweep(&table("a.txt", "x"), &out, &[]).fails(&["a.txt", ".jsonl, .csv or .parquet"]);
    sweep(&table("empty.jsonl", "\n\n"), &out, &[]).fails(&["empty.jsonl", "no rows"]);
    sweep(&table("names.csv", "prompt,target\n"), &out, &[]).fails(&["names.csv", "no rows"]);
    sweep(&table("no.csv", "text,target\na,b\n"), &out, &[])
        .fails(&["no column 'prompt' or 'ids'", "text, target"]);
    let no_target = table("no_target.csv", "prompt\nThe capital of France is\n");
    sweep(&no_target, &out, &[]).fails(&["no column 'target', 'target_id' or 'completion'", "--next-token"]);
    sweep(&table("bad.jsonl", "[1]\n"), &out, &[]).fails(&["bad.jsonl", "line 1"]);
    sweep(&table("bad.parquet", "not one"), &out, &[]).fails(&["bad.parquet"]);
    let twice = table("taken.csv", "prompt,target,loss\na, b,1\n");
    sweep(&twice, &out, &[]).fails(&["'loss'", "--prefix"]);
    sweep(&twice, &out, &["--shard", "3/2"]).fails_as_usage(&["3/2"]);
    sweep(&twice, &out, &["--lens", "attn.pattern"]).fails(&["--lens", "attn.pattern", "resid_post"]);
    sweep(&twice, &out, &["--adapter", "reference"]).fails(&["reference"]);
    assert!(!Path::new(&out).exists());

    let good = capitals(&scratch, 4);
    std::fs::create_dir(&out).unwrap();
    std::fs::write(Path::new(&out).join("notes.txt"), b"mine").unwrap();
    sweep(&good, &out, &[]).fails(&["not empty", "new directory"]);
    let first = scratch.path("first");
    sweep(&good, &first, &[]).succeeds();
    sweep(&good, &first, &["--resume", "--part-rows", "2"]).fails(&["other options", "part_rows"]);
    let other = table("other.jsonl", "{\"prompt\": \"A\", \"target_id\": 3}\n");
    sweep(&other, &first, &["--resume"]).fails(&["other options", "table"]);
    let model = fixture("untied");
    sweep(&good, &first, &["--resume", "--model", &model]).fails(&["other options", "model"]);
    sweep(&good, &scratch.path("absent/out"), &[]).fails(&["no directory"]);

    let ids = table("ids.csv", "ids,target_id\n\"1,2,3\",7\n\"1,2,3\",x\n\"1,-2\",7\n9999,7\n1 2,7\n");
    let out = scratch.path("ids");
    let report = sweep(&ids, &out, &["--model", &model, "--json"]).json();
    assert_eq!((&report["rows"], &report["rejected"]), (&json!(1), &json!(4)));
    let reasons: Vec<String> = rejects(&out).iter().map(|row| row["reason"].to_string()).collect();
    for (reason, part) in
        reasons.iter().zip(["'x' is not a token id", "'-2'", "outside the vocabulary", "'1 2'"])
    {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(batches(&out)[0]["answer"].is_null(0));
}
