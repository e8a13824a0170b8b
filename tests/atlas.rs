//! The shipped model knows what its card says: all facts, and thirty 5-shot prompts of every task. The
//! whole measurement is `cargo run --release -p retrograd --example evaluate_atlas`.

use retrograd::{Gpt2, Gpu, GpuOptions, Interventions, Precision};
use serde_json::Value;
use std::path::PathBuf;

fn atlas() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/atlas"))
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(atlas().join("corpus").join(name)).unwrap()).unwrap()
}

/// Share of the questions whose answer is the most probable next token.
fn accuracy<'a>(model: &Gpt2, questions: impl IntoIterator<Item = &'a Value>) -> f64 {
    let tokenizer = model.tokenizer().unwrap();
    let mut questions: Vec<_> = questions
        .into_iter()
        .map(|question| {
            let ids = tokenizer.encode(question["prompt"].as_str().unwrap()).unwrap();
            (ids, tokenizer.single_token(question["answer"].as_str().unwrap()).unwrap())
        })
        .collect();
    // Prompts of one length share a recorded pass.
    questions.sort_by_key(|(ids, _)| ids.len());
    let right = questions.iter().filter(|(ids, answer)| {
        let logits = model.logits(ids, &Interventions::default()).unwrap();
        (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])) == Some(answer.0 as usize)
    });
    right.count() as f64 / questions.len() as f64
}

#[test]
fn atlas_knows_its_facts_and_learns_from_demonstrations() {
    let size: u64 = ["model.safetensors", "tokenizer.json", "config.json", "vocab.json", "merges.txt"]
        .iter()
        .map(|name| std::fs::metadata(atlas().join(name)).unwrap().len())
        .sum();
    assert!(size <= 12_000_000, "{size} bytes");

    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let model = Gpt2::load(&gpu, atlas(), Precision::F32).unwrap();
    let facts = accuracy(&model, read("facts.json").as_array().unwrap());
    println!("facts: {:.2} %", 100.0 * facts);
    assert!(facts >= 0.95, "{facts}");

    let prompts = read("eval_prompts.json");
    let tasks = prompts.as_object().unwrap();
    assert!(tasks.len() >= 10);
    let solved = tasks
        .iter()
        .filter(|(_, cells)| accuracy(&model, cells["5"].as_array().unwrap().iter().take(30)) >= 0.8)
        .count();
    println!("tasks at 80 % with 5 demonstrations: {solved} of {}", tasks.len());
    assert!(solved >= 6, "{solved}");
}
