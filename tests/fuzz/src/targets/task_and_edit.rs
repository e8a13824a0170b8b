//! Tasks, facts, edits, ledgers, and what is asked for in words: layers, tensors, heads, ids, objectives, interventions.

use super::{files, sound};
use retrograd_formats::{
    AttentionPatch, Capture, Config, Interventions, Ledger, LinearLayer, Objective, Site, TokenId,
    TraceRequest, parse_heads, parse_ids, read_counterfact, read_edit_list, read_task,
};
use serde_json::{Value, json};

const NAMES: [&str; 12] = [
    "task.json",
    "facts.json",
    "edits.jsonl",
    "progress.json",
    "layers",
    "sites",
    "heads",
    "ids",
    "objective",
    "patch",
    "site",
    "linear",
];

/// Reads every file as what its name says, and carries the words of a request as far as a checked request.
pub fn task_and_edit(bytes: &[u8]) {
    let found = files::split(bytes, &NAMES);
    let directory = files::directory(&found);
    let mut words = Words::default();
    for (name, content) in &found {
        let path = directory.path().join(name);
        let text = String::from_utf8_lossy(content);
        match *name {
            "task.json" => {
                for pair in sound(read_task(&path)).into_iter().flatten() {
                    assert!(!pair.input.trim().is_empty() && !pair.output.trim().is_empty());
                }
            }
            "facts.json" => {
                for fact in sound(read_counterfact(&path)).into_iter().flatten() {
                    assert_eq!(fact.neighborhood_prompts.len(), fact.neighborhood_targets.len());
                    assert!(fact.rewrite_prompt().contains(&fact.subject));
                }
            }
            "edits.jsonl" => drop(sound(read_edit_list(&path))),
            "progress.json" => ledger(&path),
            "layers" => words.capture = sound(words.capture.clone().layers(&text)).unwrap_or(words.capture),
            "sites" => words.capture = sound(words.capture.clone().sites(&text)).unwrap_or(words.capture),
            "heads" => words.heads = sound(parse_heads(&text)).unwrap_or_default(),
            "ids" => words.ids = sound(parse_ids(&text)).unwrap_or_default(),
            "objective" => words.objective = objective(&text).unwrap_or(words.objective),
            "patch" => words.patch = patch(&text),
            "site" => {
                if let Some(site) = sound(text.parse::<Site>()) {
                    assert_eq!(site.to_string().parse::<Site>(), Ok(site));
                }
            }
            _ => {
                if let Some(layer) = sound(text.parse::<LinearLayer>()) {
                    assert_eq!(layer.to_string().parse::<LinearLayer>(), Ok(layer));
                }
            }
        }
    }
    words.check();
}

/// A ledger's file with the options it was written with, and with others.
fn ledger(path: &std::path::Path) {
    for options in [json!({"seed": 1}), json!({}), Value::Null] {
        let before = std::fs::read(path).expect("the file");
        let Some(mut ledger) = sound(Ledger::open(path, options)) else {
            assert_eq!(std::fs::read(path).expect("the file"), before, "a refused file is left alone");
            continue;
        };
        let fresh = |error: retrograd_formats::FormatError| error;
        sound(ledger.entry("a", || Ok::<f64, _>(0.5).map_err(fresh)));
        sound(ledger.entry("b", || Ok::<Vec<u32>, _>(vec![1]).map_err(fresh)));
    }
}

/// What is asked of a trace.
struct Words {
    capture: Capture,
    heads: Vec<retrograd_formats::Head>,
    ids: Vec<TokenId>,
    objective: Objective,
    patch: Option<AttentionPatch>,
}

impl Default for Words {
    fn default() -> Self {
        let objective = Objective::Target(TokenId(0));
        Words { capture: Capture::all(), heads: Vec::new(), ids: vec![TokenId(1)], objective, patch: None }
    }
}

impl Words {
    fn check(self) {
        let config = Config {
            vocab_size: 5,
            n_positions: 8,
            n_embd: 4,
            n_layer: 3,
            n_head: 2,
            n_inner: 16,
            layer_norm_epsilon: 1e-5,
            bos_token_id: None,
            eos_token_id: None,
            tie_word_embeddings: true,
        };
        let interventions = Interventions { ablate: self.heads.into_iter().collect(), patch: self.patch };
        let request =
            TraceRequest::new(self.ids, self.objective).capture(self.capture).interventions(interventions);
        let Some(resolved) = sound(request.resolve(&config)) else { return };
        assert!(resolved.count > 0 && resolved.first_position + resolved.count <= request.ids.len());
        assert!(Site::all(config.n_layer).into_iter().any(|site| request.capture.keeps(site)));
        resolved.to_json();
    }
}

/// `target 3`, `completion 2`, `next`, `difference 1 2`, `delta FIRST COUNT`.
fn objective(text: &str) -> Option<Objective> {
    let mut words = text.split_whitespace();
    let kind = words.next()?;
    let mut number = || words.next()?.parse::<usize>().ok();
    let token = |number: usize| Some(TokenId(u32::try_from(number).ok()?));
    Some(match kind {
        "target" => Objective::Target(token(number()?)?),
        "completion" => Objective::Completion { start: number()? },
        "next" => Objective::NextToken,
        "difference" => Objective::LogitDifference { token: token(number()?)?, minus: token(number()?)? },
        "delta" => Objective::Delta { first_position: number()?, delta: vec![0.5; number()?.min(100)] },
        _ => return None,
    })
}

/// `ALPHA LAYER COUNT [HEADS]`: a map of so many values.
fn patch(text: &str) -> Option<AttentionPatch> {
    let mut words = text.split_whitespace();
    let alpha = words.next()?.parse().ok()?;
    let layer = words.next()?.parse().ok()?;
    let count = words.next()?.parse::<usize>().ok()?.min(1000);
    let heads =
        words.next().and_then(|heads| sound(parse_heads(heads))).map(|heads| heads.into_iter().collect());
    Some(AttentionPatch { alpha, maps: [(layer, vec![0.0; count])].into(), heads })
}
