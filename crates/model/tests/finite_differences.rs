//! The closed-form gradients of the shaders against central differences of the f64 loss, at 20 random
//! parameters of every kind, through whole blocks: a dropped upstream gradient would show here.

mod support;

use retrograd_formats::{Config, TokenId, Weights};
use retrograd_model::train::{Dataset, Order, TrainOptions, Trainer};
use retrograd_reference::ReferenceModel;
use std::collections::BTreeMap;
use support::{fixture, gpu, read_u32};

/// Parameters per kind.
const DRAWN: usize = 20;

#[test]
fn gradients_agree_with_differences_of_the_loss() {
    let dir = fixture("adamw");
    let config = Config::from_dir(&dir).unwrap();
    let tokens = read_u32(&dir.join("tokens.safetensors")).remove("tokens").unwrap();
    let (batch, context) = (2, 11);
    let options = TrainOptions {
        steps: 1,
        batch,
        context,
        warmup: 0,
        order: Order::Sequential,
        ..TrainOptions::default()
    };
    let mut trainer =
        Trainer::from_weights(&gpu(), &dir, Dataset::from_ids(tokens.clone()), options).unwrap();
    trainer.step().unwrap();
    let gradients: BTreeMap<String, Vec<f32>> =
        trainer.gradients().unwrap().into_iter().map(|(name, _, values)| (name, values)).collect();

    let weights = Weights::open(&dir, &config).unwrap();
    let values: BTreeMap<String, Vec<f64>> = Weights::parameter_names(&config, false)
        .into_iter()
        .map(|name| (name.clone(), weights.get(&name).unwrap().to_f64().unwrap()))
        .collect();
    let batches: Vec<(Vec<TokenId>, Vec<TokenId>)> = (0..batch)
        .map(|row| {
            let ids = |from: usize| tokens[from..from + context].iter().copied().map(TokenId).collect();
            (ids(row * context), ids(row * context + 1))
        })
        .collect();
    let loss = |values: &BTreeMap<String, Vec<f64>>| {
        ReferenceModel::from_parts(config.clone(), values.clone()).unwrap().gradients(&batches).unwrap().0
    };

    // A kind is a name without its layer: c_attn.weight of both blocks are one.
    let mut kinds: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
    for (name, gradient) in &gradients {
        let kind =
            name.split('.').filter(|part| part.parse::<usize>().is_err()).collect::<Vec<_>>().join(".");
        let used = |at: &usize| name != "transformer.wpe.weight" || *at < context * config.n_embd;
        let indices = (0..gradient.len()).filter(used).map(|at| (name.clone(), at));
        kinds.entry(kind).or_default().extend(indices);
    }
    assert_eq!(kinds.len(), 16);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for (kind, places) in kinds {
        let mut worst = 0.0_f64;
        let scale = places.iter().map(|(name, at)| gradients[name][*at].abs()).fold(0.0, f32::max);
        for _ in 0..DRAWN {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let (name, at) = &places[(random % places.len() as u64) as usize];
            let h = 1e-4;
            let mut moved = values.clone();
            moved.get_mut(name).unwrap()[*at] += h;
            let above = loss(&moved);
            moved.get_mut(name).unwrap()[*at] -= 2.0 * h;
            let slope = (above - loss(&moved)) / (2.0 * h);
            worst = worst.max((f64::from(gradients[name][*at]) - slope).abs() / f64::from(scale));
        }
        println!("{kind}: {worst:.1e} of the largest");
        // The f32 gradient's own rounding (2e-6) and the h² term of the difference.
        assert!(worst < 1e-5, "{kind}: {worst:.1e}");
    }
}
