//! Sizes, mean maps, effects and patched logits against PyTorch (`tests/fixtures/interventions.py`).

use retrograd_formats::{Head, PatchMap, TokenId};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_lens::{
    MapSpan, Statistic, TaskMaps, TaskPrompt, mean_outputs, mean_patch, mediate, mediate_by_means,
    order_by_size, task_maps, task_sizes,
};
use retrograd_model::{Gpt2, Precision, Replacement};
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Relative to the largest value: what f32 leaves of maps and effects, and, looser, of logits after a strong patch.
const USUAL: f64 = 1e-4;
const AFTER_STRONG_PATCH: f64 = 1e-3;

const FOLDERS: [&str; 4] = ["one_head", "bf16", "untied", "three_layers"];

fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::open(&GpuOptions { checked: true, ..GpuOptions::default() }).unwrap()).clone()
}

struct Fixture {
    model: Gpt2,
    values: BTreeMap<String, Vec<f64>>,
    ids: BTreeMap<String, Vec<u32>>,
}

impl Fixture {
    fn open(name: &str) -> Fixture {
        let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures")).join(name);
        let bytes = std::fs::read(dir.join("interventions.safetensors")).unwrap();
        let (mut values, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            if view.dtype() == Dtype::F64 {
                let wide =
                    view.data().as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
                values.insert(name, wide);
            } else {
                let whole =
                    view.data().as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
                ids.insert(name, whole);
            }
        }
        Fixture { model: Gpt2::load(&gpu(), &dir, Precision::F32).unwrap(), values, ids }
    }

    fn prompts(&self, which: &str) -> Vec<TaskPrompt> {
        let targets = &self.ids["targets"];
        let tokens = self.ids[which].len() / targets.len();
        let prompt = |(ids, target): (&[u32], &u32)| TaskPrompt {
            ids: ids.iter().copied().map(TokenId).collect(),
            answer: vec![TokenId(*target)],
            layout: vec![tokens],
            query: 0,
            demonstrations: Vec::new(),
        };
        self.ids[which].chunks_exact(tokens).zip(targets).map(prompt).collect()
    }

    fn heads(&self) -> usize {
        self.model.config().n_layer * self.model.config().n_head
    }

    /// Mean and deviation over the prompts of `[N, L, H]`, by head.
    fn statistics(&self, name: &str) -> Vec<Statistic> {
        let values = &self.values[name];
        let of = |head: usize| values.iter().skip(head).step_by(self.heads()).copied().collect::<Vec<f64>>();
        (0..self.heads()).map(|head| Statistic::of(&of(head))).collect()
    }
}

fn assert_near(what: &str, found: &[f64], wanted: &[f64], bound: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let largest = wanted.iter().fold(1e-30, |largest: f64, value| largest.max(value.abs()));
    let worst = found.iter().zip(wanted).fold(0.0, |worst: f64, (f, w)| {
        let error = (f - w).abs();
        if error.is_nan() { f64::INFINITY } else { worst.max(error) }
    });
    println!("{what}: {:.1e}", worst / largest);
    assert!(worst <= bound * largest, "{what}: {:.1e} of the largest", worst / largest);
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[test]
fn sizes_means_and_deviations() {
    for name in FOLDERS {
        let fixture = Fixture::open(name);
        let prompts = fixture.prompts("prompts");
        let maps = task_maps(&fixture.model, &prompts, MapSpan::Prompt, &mut |_| ()).unwrap();
        let check_heads = |maps: &TaskMaps| {
            for (site, of) in [
                (
                    "reversed.norm",
                    (|head| head.reversed_norm) as fn(&retrograd_lens::HeadStatistics) -> Statistic,
                ),
                ("pattern.norm", |head| head.pattern_norm),
                ("attribution", |head| head.attribution),
            ] {
                let (found, wanted): (Vec<Statistic>, _) =
                    (maps.heads.iter().map(of).collect(), fixture.statistics(site));
                let moment =
                    |all: &[Statistic], of: fn(&Statistic) -> f64| all.iter().map(of).collect::<Vec<f64>>();
                for of in [(|s| s.mean) as fn(&Statistic) -> f64, |s| s.std] {
                    assert_near(&format!("{name}, {site}"), &moment(&found, of), &moment(&wanted, of), USUAL);
                }
            }
        };
        check_heads(&maps);
        check_heads(&task_sizes(&fixture.model, &prompts, MapSpan::Prompt, &mut |_| ()).unwrap());

        let [means] = &maps.layouts[..] else { panic!("one layout") };
        assert_eq!((means.prompts, means.tokens), (prompts.len(), prompts[0].ids.len()));
        for layer in 0..fixture.model.config().n_layer {
            for (kind, found) in [("reversed", &means.reversed[layer]), ("pattern", &means.pattern[layer])] {
                for (moment, found) in [("mean", &found.mean), ("std", &found.std)] {
                    let site = format!("{layer}.{kind}.{moment}");
                    assert_near(&format!("{name}, {site}"), &wide(found), &fixture.values[&site], USUAL);
                }
            }
        }
        let order = order_by_size(&maps.heads, retrograd_lens::OrderBy::Reversed).unwrap();
        let order: Vec<u32> = order.iter().flat_map(|head| [head.layer as u32, head.head as u32]).collect();
        assert_eq!(order, fixture.ids["order"], "{name}");
    }
}

#[test]
fn patched_logits() {
    for name in FOLDERS {
        let fixture = Fixture::open(name);
        let prompts = fixture.prompts("prompts");
        let maps = task_maps(&fixture.model, &prompts, MapSpan::Prompt, &mut |_| ()).unwrap();
        let tokens = prompts[0].ids.len();
        let patch = mean_patch(&fixture.model, &maps.layouts[0], PatchMap::Reversed, None, tokens);
        let mut batch = fixture.model.forward_batch(prompts.len(), tokens, Some(&patch)).unwrap();
        batch.set_tokens(&prompts.iter().map(|prompt| prompt.ids.clone()).collect::<Vec<_>>()).unwrap();
        for (alpha, bound) in [(-120.0f32, AFTER_STRONG_PATCH), (-3.0, USUAL), (2.0, USUAL)] {
            batch.set_alpha(&vec![alpha; prompts.len()]).unwrap();
            let found = wide(&batch.logits().unwrap().concat());
            assert_near(
                &format!("{name}, α = {alpha}"),
                &found,
                &fixture.values[&format!("patched.{alpha}")],
                bound,
            );
        }
    }
}

#[test]
fn ablated_logits_and_effects() {
    for name in FOLDERS {
        let fixture = Fixture::open(name);
        let (model, prompts) = (&fixture.model, fixture.prompts("prompts"));
        let vocabulary = model.config().vocab_size;
        let mut effects = model.head_effects(1, prompts[0].ids.len(), Replacement::Zero).unwrap();
        let mut at = 0;
        effects
            .run(&[prompts[0].ids.clone()], None, |_, head, logits| {
                if head.is_some() {
                    let wanted = &fixture.values["zero.logits"][at * vocabulary..][..vocabulary];
                    assert_near(&format!("{name}, {head:?}"), &wide(logits), wanted, USUAL);
                    at += 1;
                }
            })
            .unwrap();
        assert_eq!(at, fixture.heads());

        let given: Vec<_> = prompts.iter().map(|prompt| (prompt.ids.clone(), prompt.target())).collect();
        let zero = mediate(model, &given, &mut |_| ()).unwrap();
        let mean = mediate_by_means(model, &prompts, &fixture.prompts("corrupted"), &mut |_| ()).unwrap();
        for (what, found) in [("zero.effect", zero), ("mean.effect", mean)] {
            let wanted = fixture.statistics(what);
            let mediated: Vec<f64> = found.heads.iter().map(|head| head.indirect_effect).collect();
            let means: Vec<f64> = wanted.iter().map(|statistic| statistic.mean).collect();
            // An effect is a difference of probabilities: its error is of the size of theirs.
            let bound = AFTER_STRONG_PATCH;
            assert_near(&format!("{name}, {what}"), &mediated, &means, bound);
            let deviations: Vec<f64> = found.heads.iter().map(|head| head.std).collect();
            let stds: Vec<f64> = wanted.iter().map(|statistic| statistic.std).collect();
            assert_near(&format!("{name}, {what}, std"), &deviations, &stds, bound);
        }
        assert_eq!(mean_outputs(model, &prompts).unwrap().len(), model.config().n_layer);
    }
}

#[test]
fn only_the_first_heads_speak() {
    for name in FOLDERS {
        let fixture = Fixture::open(name);
        let prompt = fixture.prompts("prompts").remove(0);
        let order: Vec<Head> = fixture.ids["order"]
            .chunks_exact(2)
            .map(|pair| Head { layer: pair[0] as usize, head: pair[1] as usize })
            .collect();
        let vocabulary = fixture.model.config().vocab_size;
        let mut batch = fixture.model.forward_batch(1, prompt.ids.len(), None).unwrap();
        batch.set_tokens(std::slice::from_ref(&prompt.ids)).unwrap();
        for third in 0..3 {
            batch.silence(&order.iter().skip(order.len() * third / 3).copied().collect()).unwrap();
            let wanted = &fixture.values["kept.logits"][third * vocabulary..][..vocabulary];
            let found = wide(&batch.logits().unwrap().concat());
            assert_near(&format!("{name}, {third} thirds kept"), &found, wanted, USUAL);
        }
    }
}
