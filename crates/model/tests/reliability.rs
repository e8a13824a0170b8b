//! A model whose device is lost, has too little memory, or is used from several threads at once.

mod support;

use retrograd_formats::{Capture, Layer, Objective, Site, TokenId, TraceRead, TraceRequest};
use retrograd_gpu::{Gpu, GpuOptions, Pass, Tensor};
use retrograd_model::train::{Dataset, Order, TrainOptions, Trainer};
use retrograd_model::{BatchTrace, GenerateOptions, Generation, Gpt2, ModelError, Precision, Trace};
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::{fixture, read_u32};

fn open(memory_limit: Option<u64>) -> Gpu {
    Gpu::open(&GpuOptions { checked: true, memory_limit, ..GpuOptions::default() }).unwrap()
}

fn load(gpu: &Gpu) -> Gpt2 {
    Gpt2::load(gpu, fixture("three_layers"), Precision::F32).unwrap()
}

/// Everything is captured.
fn request(tokens: u32, of: u32) -> TraceRequest {
    let ids = (0..tokens).map(|at| TokenId((of * 7 + at * 3) % 11)).collect();
    TraceRequest::new(ids, Objective::Target(TokenId(5)))
}

/// Every bit of a trace.
fn bits(trace: &Trace) -> Result<Vec<Vec<u32>>, Box<dyn std::error::Error>> {
    let sites: Vec<Site> = trace.sites().into_iter().filter(|site| *site != Site::Tokens).collect();
    let read = trace.read_all(&sites)?;
    Ok(read.iter().map(|tensor| tensor.as_f32().iter().map(|value| value.to_bits()).collect()).collect())
}

fn generate(model: &Gpt2, ids: &[TokenId]) -> Result<Generation, ModelError> {
    let greedy = GenerateOptions { max_new_tokens: 4, ..GenerateOptions::default() };
    model.generate(ids, &greedy, |_| ControlFlow::Continue(()))
}

#[test]
fn what_is_shared_between_threads_may_be() {
    fn shared<T: Send + Sync>() {}
    shared::<Gpu>();
    shared::<Tensor>();
    shared::<Pass>();
    shared::<Gpt2>();
    shared::<Trace>();
    shared::<BatchTrace>();
    shared::<ModelError>();
    fn moved<T: Send>() {}
    moved::<Trainer>();
}

#[test]
fn threads_that_share_a_model_get_the_bits_that_one_gets_alone() {
    let model = load(&open(None));
    let requests: Vec<TraceRequest> = (0..6).map(|of| request(2 + of % 3, of)).collect();
    let alone: Vec<_> = requests.iter().map(|one| bits(&model.trace(one).unwrap()).unwrap()).collect();
    let ids = &requests[0].ids;
    let text = generate(&model, ids).unwrap().ids;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (model, requests, alone, text) = (&model, &requests, &alone, &text);
            scope.spawn(move || {
                for round in 0..8 {
                    let which = (round * 5 + thread) % requests.len();
                    let trace = model.trace(&requests[which]).unwrap();
                    assert!(bits(&trace).unwrap() == alone[which], "thread {thread}, round {round}");
                    if round % 6 == thread {
                        assert_eq!(generate(model, &requests[0].ids).unwrap().ids, *text);
                    }
                }
            });
        }
    });
}

#[test]
fn a_device_lost_under_traces_is_said_and_another_gives_the_same_bits() {
    let gpu = open(None);
    let model = load(&gpu);
    let request = request(8, 1);
    let before = bits(&model.trace(&request).unwrap()).unwrap();
    let other = gpu.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(40));
        other.destroy();
    });
    let started = Instant::now();
    let message = loop {
        assert!(started.elapsed() < Duration::from_secs(60), "the device is never lost");
        match model.trace(&request) {
            Ok(trace) => match bits(&trace) {
                Ok(read) => assert!(read == before),
                Err(error) => break error.to_string(),
            },
            Err(error) => break error.to_string(),
        }
    };
    killer.join().unwrap();
    assert!(message.contains("was lost while") && message.contains("open it again"), "{message}");
    // Everything else on it says the same.
    assert!(model.trace(&request).err().unwrap().is_device_lost());
    assert!(model.trace_batch(std::slice::from_ref(&request)).err().unwrap().is_device_lost());
    assert!(model.logits(&request.ids, &Default::default()).unwrap_err().is_device_lost());
    assert!(generate(&model, &request.ids).err().unwrap().is_device_lost());
    assert!(Gpt2::load(&gpu, fixture("untied"), Precision::F32).err().unwrap().is_device_lost());

    let again = model.reopen().unwrap();
    assert!(bits(&again.trace(&request).unwrap()).unwrap() == before);
}

fn trainer(gpu: &Gpu) -> Trainer {
    let dir = fixture("adamw");
    let tokens = read_u32(&dir.join("tokens.safetensors")).remove("tokens").unwrap();
    let options = TrainOptions {
        steps: 12,
        batch: 2,
        context: 8,
        warmup: 3,
        order: Order::Sequential,
        ..TrainOptions::default()
    };
    Trainer::from_weights(gpu, dir, Dataset::from_ids(tokens), options).unwrap()
}

#[test]
fn a_training_goes_on_from_its_last_state_to_the_weights_of_one_that_was_not_disturbed() {
    let mut undisturbed = trainer(&open(None));
    for _ in 0..12 {
        undisturbed.step().unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.safetensors");
    let gpu = open(None);
    let mut disturbed = trainer(&gpu);
    disturbed.step().unwrap();
    disturbed.save_state(&state).unwrap();
    // In the middle of the steps, saving after each.
    let (other, (go, started)) = (gpu.clone(), std::sync::mpsc::channel());
    let killer = std::thread::spawn(move || {
        started.recv().unwrap();
        std::thread::sleep(Duration::from_micros(300));
        other.destroy();
    });
    let mut killer = Some(killer);
    let error = loop {
        match disturbed.steps_done() {
            3 => go.send(()).unwrap(),
            // So late only where the machine has other things to do.
            10 => killer.take().unwrap().join().unwrap(),
            _ => {}
        }
        match disturbed.step() {
            Ok(_) => disturbed.save_state(&state).or_else(lost).unwrap(),
            Err(error) => break error,
        }
    };
    assert!(error.is_device_lost(), "{error}");
    assert!(disturbed.save_state(&state).unwrap_err().is_device_lost());
    assert!(disturbed.save_model(directory.path(), None).unwrap_err().is_device_lost());
    let names: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["state.safetensors"], "a state that stands, and nothing half written");

    let mut resumed = trainer(&gpu.reopen().unwrap());
    resumed.resume(&state).unwrap();
    assert!(resumed.steps_done() > 0);
    while resumed.steps_done() < 12 {
        resumed.step().unwrap();
    }
    assert!(resumed.weights().unwrap() == undisturbed.weights().unwrap());
}

/// A state may be asked for in the very moment of the loss.
fn lost(error: ModelError) -> Result<(), ModelError> {
    if error.is_device_lost() { Ok(()) } else { Err(error) }
}

fn needed(error: ModelError) -> u64 {
    match error {
        ModelError::OutOfMemory { needed, .. } => needed,
        other => panic!("{other}"),
    }
}

/// Bytes that the model needs to be loaded.
fn weights() -> u64 {
    static WEIGHTS: OnceLock<u64> = OnceLock::new();
    let refused = || Gpt2::load(&open(Some(0)), fixture("three_layers"), Precision::F32).err().unwrap();
    *WEIGHTS.get_or_init(|| needed(refused()))
}

/// What sizes on the device are multiples of.
const GRANULE: u64 = 256;

/// The model on a device that has so many bytes left.
fn load_with(bytes: u64) -> (Gpt2, Tensor) {
    let gpu = open(Some(weights() + GRANULE + bytes));
    let model = load(&gpu);
    let filler = gpu.available_memory().unwrap() - bytes;
    let filler = gpu.tensor([filler as usize / 4]).unwrap();
    assert_eq!(gpu.available_memory(), Some(bytes));
    (model, filler)
}

#[test]
fn a_pass_is_refused_by_an_estimate_that_is_what_it_takes() {
    for (tokens, capture) in
        [(8, Capture::all()), (3, Capture::all().layers("1").unwrap().sites("attn.*,logits").unwrap())]
    {
        let request = request(tokens, 0).capture(capture);
        let (model, _filler) = load_with(0);
        let error = model.trace(&request).err().unwrap();
        let message = error.to_string();
        for part in [&format!("a pass over {tokens} tokens and back"), "0 KiB are free", "--precision f16"] {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
        let needed = needed(error);
        // A little less than that is refused, that much does.
        let (model, _filler) = load_with(needed - GRANULE);
        assert!(model.trace(&request).err().unwrap().is_out_of_memory());
        let (model, _filler) = load_with(needed);
        let trace = model.trace(&request).unwrap();
        assert!(trace.loss().unwrap().is_finite());
        assert!(
            model.gpu().available_memory().unwrap() * 50 < needed,
            "the estimate is more than 2 % too high"
        );
        // Another shape takes the room of what only waits to be used again.
        drop(trace);
        model.trace(&TraceRequest { ids: request.ids[1..].to_vec(), ..request }).unwrap();
    }
}

fn needed_by(request: &TraceRequest) -> u64 {
    let (model, _filler) = load_with(0);
    needed(model.trace(request).err().unwrap())
}

#[test]
fn what_does_not_fit_keeps_fewer_layers_or_is_loaded_as_f16_where_that_is_allowed() {
    let whole = request(8, 0);
    let gpu = open(Some(1 << 30));
    let model = load(&gpu);
    let full = bits(&model.trace(&whole).unwrap()).unwrap();
    assert_eq!(model.fit(&whole).unwrap().1, None);
    let all = needed_by(&whole);
    let none = whole.clone().capture(Capture::all().from_layer(3, 3));
    let least = needed_by(&none);
    assert!(least < all, "{least} of {all} bytes");

    let two = needed_by(&whole.clone().capture(Capture::all().from_layer(1, 3)));
    let (model, _filler) = load_with(two);
    assert!(model.trace(&whole).is_err());
    let (fitting, kept) = model.fit(&whole).unwrap();
    assert_eq!(kept.as_deref(), Some(&[Layer(1), Layer(2)][..]));
    let trace = model.trace(&fitting).unwrap();
    let found = bits(&trace).unwrap();
    assert!(found.iter().all(|tensor| full.contains(tensor)), "what is kept is the same");

    let ((small, _filler), error) =
        (load_with(least / 2 / GRANULE * GRANULE), "tokens and back that keeps no layer needs");
    assert!(small.fit(&whole).unwrap_err().to_string().contains(error));

    let tight = open(Some(weights() * 9 / 10));
    let refused = Gpt2::load(&tight, fixture("three_layers"), Precision::F32).err().unwrap().to_string();
    assert!(refused.contains("as f16 it takes"), "{refused}");
    let halved = Gpt2::load_fitting(&tight, fixture("three_layers")).unwrap();
    assert_eq!(halved.precision(), Precision::F16);
    assert_eq!(Gpt2::load_fitting(&gpu, fixture("three_layers")).unwrap().precision(), Precision::F32);
}

#[test]
fn a_training_that_does_not_fit_is_refused_before_it_begins() {
    let dir = fixture("adamw");
    let start = |limit| {
        let options = TrainOptions { steps: 1, batch: 2, context: 8, warmup: 0, ..TrainOptions::default() };
        Trainer::from_weights(&open(Some(limit)), &dir, Dataset::from_ids(vec![1; 64]), options)
    };
    let weights = needed(start(0).err().unwrap());
    let error = start(weights + 4096).err().unwrap().to_string();
    assert!(error.contains("a training step needs") && error.contains("--batch"), "{error}");
    start(1 << 30).unwrap();
}
