//! Measures what the shipped model knows, from the committed prompts: facts, and Q/A with 0, 1 and 5
//! demonstrations, seen and unseen pairs.
//!
//!     cargo run --release -p retrograd --example evaluate_atlas [-- --check] [MODEL_DIR [CORPUS_DIR]]
//!
//! Prints a Markdown table; `--check` exits with 3 when a figure is below what the model card promises.

use retrograd::formats::{Interventions, TokenId};
use retrograd::{Gpt2, Gpu, GpuOptions, Precision};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Share of the declarative facts that must be answered.
const FACTS: f64 = 0.95;
/// Accuracy that counts as solving a task with five demonstrations, and how many tasks must be solved.
const SOLVED: (f64, usize) = (0.80, 6);
/// The columns of the table: cells of `eval_prompts.json`.
const CELLS: [&str; 4] = ["0", "1", "5", "5_unseen_pairs"];

#[derive(Deserialize)]
struct Question {
    prompt: String,
    answer: String,
    #[serde(default)]
    relation: String,
}

/// Correct answers of how many.
#[derive(Clone, Copy, Default)]
struct Score {
    right: usize,
    asked: usize,
}

impl Score {
    fn accuracy(self) -> f64 {
        self.right as f64 / self.asked.max(1) as f64
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut check = false;
    let mut dirs = Vec::new();
    for argument in std::env::args().skip(1) {
        if argument == "--check" { check = true } else { dirs.push(PathBuf::from(argument)) }
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/atlas");
    let model_dir = dirs.first().cloned().unwrap_or_else(|| shipped.clone());
    let corpus = dirs.get(1).cloned().unwrap_or_else(|| shipped.join("corpus"));

    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, &model_dir, Precision::F32)?;
    let facts: Vec<Question> = read(&corpus.join("facts.json"))?;
    let prompts: BTreeMap<String, BTreeMap<String, Vec<Question>>> = read(&corpus.join("eval_prompts.json"))?;

    // All at once, by length: prompts of one length share a recorded pass.
    let mut asked: Vec<((String, &str), &Question)> =
        facts.iter().map(|fact| ((fact.relation.clone(), "facts"), fact)).collect();
    for (task, cells) in &prompts {
        for cell in CELLS {
            asked.extend(cells.get(cell).into_iter().flatten().map(|q| ((task.clone(), cell), q)));
        }
    }
    let scores = score(&model, asked)?;
    let total = |cell: &str| {
        let cells = scores.iter().filter(|((_, have), _)| *have == cell);
        cells.fold(Score::default(), |sum, (_, s)| Score {
            right: sum.right + s.right,
            asked: sum.asked + s.asked,
        })
    };

    println!("| task | facts | 0-shot | 1-shot | 5-shot | 5-shot, pairs never seen in Q/A |");
    println!("|---|---|---|---|---|---|");
    let show =
        |score: Option<Score>| score.map_or("–".to_owned(), |s| format!("{:.0} %", 100.0 * s.accuracy()));
    for task in prompts.keys() {
        let cell = |cell: &'static str| show(scores.get(&(task.clone(), cell)).copied());
        let columns: Vec<String> = ["facts"].into_iter().chain(CELLS).map(cell).collect();
        println!("| {task} | {} |", columns.join(" | "));
    }
    let columns: Vec<String> =
        ["facts"].into_iter().chain(CELLS).map(|cell| format!("**{}**", show(Some(total(cell))))).collect();
    println!("| all | {} |", columns.join(" | "));

    let solved = prompts
        .keys()
        .filter(|task| scores.get(&((*task).clone(), "5")).is_some_and(|s| s.accuracy() >= SOLVED.0))
        .count();
    let known = total("facts").accuracy();
    println!();
    println!("Declarative facts: {:.2} % of {}.", 100.0 * known, total("facts").asked);
    println!(
        "Tasks at or above {:.0} % with 5 demonstrations: {solved} of {}.",
        100.0 * SOLVED.0,
        prompts.len()
    );
    let good = known >= FACTS && solved >= SOLVED.1;
    if check && !good {
        eprintln!(
            "error: {} does not know what its card promises: {:.0} % of the facts, {} solved tasks",
            model_dir.display(),
            100.0 * FACTS,
            SOLVED.1
        );
        return Ok(ExitCode::from(3));
    }
    Ok(ExitCode::SUCCESS)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Box<dyn Error>> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// By task and cell.
type Scores<'a> = BTreeMap<(String, &'a str), Score>;

/// Top-1 accuracy per (task, cell).
fn score<'a>(model: &Gpt2, asked: Vec<((String, &'a str), &Question)>) -> Result<Scores<'a>, Box<dyn Error>> {
    let tokenizer = model.require_tokenizer()?;
    let mut encoded = Vec::with_capacity(asked.len());
    for (cell, question) in asked {
        encoded.push((tokenizer.encode(&question.prompt)?, tokenizer.single_token(&question.answer)?, cell));
    }
    encoded.sort_by_key(|(ids, _, _)| ids.len());
    let mut scores = Scores::new();
    for (ids, answer, cell) in encoded {
        let logits = model.logits(&ids, &Interventions::default())?;
        let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap_or(0);
        let score = scores.entry(cell).or_default();
        score.asked += 1;
        score.right += usize::from(TokenId(best as u32) == answer);
    }
    Ok(scores)
}
