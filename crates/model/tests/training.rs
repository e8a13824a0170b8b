//! Ten AdamW steps against PyTorch's, weight gradients against autograd's and the oracle's, resuming.

mod support;

use retrograd_formats::{BlockSite, Config, Layer, LinearKind, Site, TraceRead, Weights};
use retrograd_model::train::{Dataset, Order, Schedule, TrainOptions, Trainer};
use retrograd_model::{Gpt2, Precision};
use retrograd_reference::ReferenceModel;
use support::{TRACES, fixture, gpu, json, read_f64, read_u32, relative_error, request};

/// The fixture's settings; see tests/fixtures/adamw/fixture.json.
fn options() -> TrainOptions {
    TrainOptions {
        steps: 10,
        batch: 4,
        context: 16,
        lr: 1e-3,
        schedule: Schedule::Cosine,
        warmup: 3,
        weight_decay: 0.1,
        order: Order::Sequential,
        ..TrainOptions::default()
    }
}

fn trainer(options: TrainOptions) -> Trainer {
    let dir = fixture("adamw");
    let tokens = read_u32(&dir.join("tokens.safetensors")).remove("tokens").unwrap();
    Trainer::from_weights(&gpu(), dir, Dataset::from_ids(tokens), options).unwrap()
}

#[test]
fn ten_steps_follow_pytorch() {
    let expected = read_f64(&fixture("adamw").join("expected.safetensors"));
    let mut trainer = trainer(options());
    let steps = expected["loss"].iter().zip(&expected["grad_norm"]).zip(&expected["lr"]);
    for (step, ((loss, norm), lr)) in steps.enumerate() {
        let report = trainer.step().unwrap();
        let loss = (f64::from(report.loss) / loss - 1.0).abs();
        let norm = (f64::from(report.grad_norm) / norm - 1.0).abs();
        println!("step {step}: loss off by {loss:.1e}, norm by {norm:.1e}");
        assert!(loss < 2e-5 && norm < 2e-5, "step {step}");
        assert!((report.lr - lr).abs() < 1e-9);
    }
    // Within a thousandth of a step's movement, which is the peak learning rate, where the gradient is
    // not tiny: elsewhere Adam divides rounding noise by rounding noise.
    let tiny = json(&fixture("adamw").join("fixture.json"))["tiny_gradient"].as_f64().unwrap_or(1e-5);
    let mut worst = 0.0_f64;
    for (name, _, values) in trainer.weights().unwrap() {
        let (reference, gradient) =
            (&expected[&format!("final.{name}")], &expected[&format!("mean_abs_grad.{name}")]);
        for ((value, reference), gradient) in values.iter().zip(reference).zip(gradient) {
            if *gradient > tiny {
                let steps = (f64::from(*value) - reference).abs() / 1e-3;
                assert!(steps < 1e-3, "{name}: {steps:.1e} of a step");
                worst = worst.max(steps);
            }
        }
    }
    println!("weights: at most {worst:.1e} of a step");
}

#[test]
fn weight_gradients_are_those_of_the_oracle() {
    let dir = fixture("adamw");
    let tokens = read_u32(&dir.join("tokens.safetensors")).remove("tokens").unwrap();
    let mut trainer = trainer(options());
    trainer.step().unwrap();
    let batches: Vec<_> = (0..4)
        .map(|row| {
            let ids = |from: usize| {
                tokens[from..from + 16].iter().map(|id| retrograd_formats::TokenId(*id)).collect()
            };
            (ids(row * 16), ids(row * 16 + 1))
        })
        .collect();
    let (_, expected) = ReferenceModel::load(&dir).unwrap().gradients(&batches).unwrap();
    for (name, _, values) in trainer.gradients().unwrap() {
        let error = relative_error(&values, &expected[&name]);
        // The key third of c_attn.bias has a true gradient of 0; its rounding counts against the rest.
        assert!(error < 4e-6, "{name}: {error:.1e}");
    }
}

#[test]
fn factors_of_a_trace_make_the_weight_gradients_of_autograd() {
    for name in TRACES {
        let expected = read_f64(&fixture(name).join("expected.safetensors"));
        let model = Gpt2::load(&gpu(), fixture(name), Precision::F32).unwrap();
        let trace = model.trace(&request(name)).unwrap();
        for layer in 0..model.config().n_layer {
            for kind in LinearKind::ALL {
                let Some(reference) =
                    expected.get(&format!("grad.transformer.h.{layer}.{}.weight", kind.suffix()))
                else {
                    continue;
                };
                let read = |site: BlockSite| trace.read(Site::Block(Layer(layer), site)).unwrap();
                let (x, delta) = (read(kind.input()), read(kind.delta()));
                let (inputs, outputs) = (x.shape[1], delta.shape[1]);
                let mut dense = vec![0.0_f32; inputs * outputs];
                for (x, delta) in x.as_f32().chunks_exact(inputs).zip(delta.as_f32().chunks_exact(outputs)) {
                    for (row, x) in dense.chunks_exact_mut(outputs).zip(x) {
                        for (sum, delta) in row.iter_mut().zip(delta) {
                            *sum += x * delta;
                        }
                    }
                }
                // An ablated head's rows are multiplied by zeroed weights, but their gradient is taken
                // from the real o: the factors hold here as well.
                let error = relative_error(&dense, reference);
                assert!(error < 6e-6, "{name} {layer} {kind:?}: {error:.1e}");
            }
        }
    }
}

#[test]
fn a_resumed_training_ends_in_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.safetensors");
    for order in [Order::Sequential, Order::Shuffled] {
        let options = TrainOptions { order, seed: 3, ..options() };
        let mut undisturbed = trainer(options.clone());
        let mut losses = Vec::new();
        for _ in 0..10 {
            losses.push(undisturbed.step().unwrap().loss);
        }
        let mut first = trainer(options.clone());
        for loss in &losses[..4] {
            assert_eq!(first.step().unwrap().loss, *loss);
        }
        first.save_state(&state).unwrap();
        drop(first);
        let mut second = trainer(options.clone());
        second.resume(&state).unwrap();
        assert_eq!(second.steps_done(), 4);
        for loss in &losses[4..] {
            assert_eq!(second.step().unwrap().loss, *loss);
        }
        assert_eq!(undisturbed.weights().unwrap(), second.weights().unwrap());

        let other = TrainOptions { lr: 2e-3, ..options };
        let error = trainer(other).resume(&state).unwrap_err().to_string();
        assert!(error.contains("options"), "{error}");
    }
}

#[test]
fn a_trained_model_is_an_ordinary_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut trainer = trainer(options());
    trainer.step().unwrap();
    trainer.save_model(dir.path(), None).unwrap();
    let config = Config::from_dir(dir.path()).unwrap();
    let weights = Weights::open(dir.path(), &config).unwrap();
    for (name, shape, values) in trainer.weights().unwrap() {
        let view = weights.get(&name).unwrap();
        assert_eq!(view.shape, shape);
        assert_eq!(*view.to_f32().unwrap(), values[..]);
    }
    Gpt2::load(&gpu(), dir.path(), Precision::F32).unwrap();
}

#[test]
fn a_model_from_scratch_learns_a_repeated_text() {
    let config = Config {
        vocab_size: 50,
        n_positions: 16,
        n_embd: 24,
        n_layer: 2,
        n_head: 3,
        n_inner: 96,
        layer_norm_epsilon: 1e-5,
        bos_token_id: None,
        eos_token_id: None,
        tie_word_embeddings: true,
    };
    let text: Vec<u32> = (0..2000).map(|i| (i * i % 47) as u32).collect();
    let options =
        TrainOptions { steps: 60, batch: 4, context: 16, lr: 1e-2, warmup: 5, ..TrainOptions::default() };
    let mut trainer =
        Trainer::from_config(&gpu(), &config, Dataset::from_ids(text.clone()), options).unwrap();
    let held_out = Dataset::from_ids(text[..200].to_vec());
    let before = trainer.evaluate(&held_out).unwrap();
    assert!((before - 50_f32.ln()).abs() < 0.3, "a fresh model knows nothing: {before}");
    let mut last = 0.0;
    for _ in 0..60 {
        last = trainer.step().unwrap().loss;
    }
    let after = trainer.evaluate(&held_out).unwrap();
    assert!(last < 1.5 && after < 1.5, "{last} {after}");
}
