//! Thousands of traces in one process, and of requests to one server: memory flat, the same bits from first to last.

use crate::harness::fixture;
use crate::server::{Server, events};
use retrograd::formats::TensorData;
use retrograd::{
    Gpt2, Gpu, GpuOptions, Interventions, Objective, Precision, TokenId, TraceRead, TraceRequest,
};
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::time::Instant;

/// Growth that is taken for the allocator's noise, in KiB: of 10,000 traces, less than half a KiB each.
const NOISE_KIB: f64 = 4096.0;

/// Resident memory of this process in KiB, where the system says.
fn memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.split_whitespace().next()?.parse().ok()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean of the first and of the last tenth of the samples; the last must not be larger by more than noise.
fn flat(samples: &[f64], allowed: f64) -> (f64, f64) {
    let tenth = (samples.len() / 10).max(1);
    let (first, last) = (mean(&samples[..tenth]), mean(&samples[samples.len() - tenth..]));
    assert!(last < first + allowed, "memory grew from {first:.0} to {last:.0} KiB");
    (first, last)
}

/// Every bit of every tensor.
fn digest(trace: &dyn TraceRead) -> u64 {
    let mut hasher = DefaultHasher::new();
    for tensor in trace.read_all(&trace.sites()).unwrap() {
        match &tensor.data {
            TensorData::F32(values) => values.iter().for_each(|value| hasher.write_u32(value.to_bits())),
            TensorData::U32(values) => values.iter().for_each(|value| hasher.write_u32(*value)),
        }
    }
    hasher.finish()
}

/// Memory is judged where this is all that the process does.
fn traces(count: usize, alone: bool) {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let atlas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/atlas");
    let model = Gpt2::load(&gpu, atlas, Precision::F32).unwrap();
    // More shapes than are kept recorded, so that passes are built and dropped all the time; one has heads silenced,
    // which is recorded for this one run.
    let mut requests: Vec<TraceRequest> = (1..=6)
        .map(|tokens| {
            let ids = (0..tokens).map(|at| TokenId(17 + 31 * at)).collect();
            TraceRequest::new(ids, Objective::Target(TokenId(7)))
        })
        .collect();
    let silenced = Interventions { ablate: ["1.2".parse().unwrap()].into(), patch: None };
    requests.push(requests[3].clone().interventions(silenced));
    let expected: Vec<u64> = requests.iter().map(|request| digest(&model.trace(request).unwrap())).collect();
    let (started, mut samples) = (Instant::now(), Vec::new());
    // After every kind was there twice, whatever is recorded finds its memory in what others left.
    let mut steady = 0;
    for at in 0..count {
        if at == requests.len() {
            steady = gpu.arena_stats().buffers_created;
        }
        let which = at % requests.len();
        let trace = model.trace(&requests[which]).unwrap();
        assert_eq!(digest(&trace), expected[which], "trace {at} differs");
        drop(trace);
        samples.extend(memory());
    }
    let (held, created) = (gpu.arena_stats().bytes_held >> 10, gpu.arena_stats().buffers_created);
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(created, steady, "passes that were recorded before allocate");
    if samples.is_empty() || !alone {
        return;
    }
    let (first, last) = flat(&samples, NOISE_KIB);
    println!(
        "{count} traces of {} kinds in {seconds:.0} s, each the bits of the first: resident {first:.0} KiB in the \
         first tenth, {last:.0} KiB in the last; {held} KiB on the device",
        requests.len()
    );
}

#[test]
fn a_hundred_traces() {
    traces(100, false);
}

#[test]
#[ignore = "ten thousand take minutes"]
fn soak_of_ten_thousand_traces() {
    traces(10_000, true);
}

#[test]
#[ignore = "a thousand take minutes; the command's own tests have five hundred"]
fn soak_of_a_thousand_requests() {
    let server = Server::start(&fixture("untied"));
    let requests = [
        r#"{"ids": [81, 73, 33], "target_id": 7, "views": ["heads"]}"#,
        r#"{"ids": [81, 73, 33, 5], "target_id": 9, "views": ["heads", "lens"]}"#,
        r#"{"ids": [81, 73, 33, 5], "target_id": 9, "views": ["heads"], "ablate": ["0.1"]}"#,
        r#"{"ids": [81, 73], "target_id": 9, "views": ["heads"], "edit": {"layer": 1, "eta": 0.5}}"#,
    ];
    let answer = |request: &str| {
        let (status, body) = server.run(request);
        assert_eq!(status, 200, "{body}");
        let last = events(&body).pop().unwrap();
        assert_eq!(last["event"], "result", "{body}");
        last["data"].clone()
    };
    let expected = requests.map(answer);
    let (started, mut samples) = (Instant::now(), Vec::new());
    for at in 0..1000 {
        let which = at % requests.len();
        assert!(answer(requests[which]) == expected[which], "request {at} is answered otherwise");
        samples.extend(server.memory().map(|kib| kib as f64));
    }
    let seconds = started.elapsed().as_secs_f64();
    let (first, last) = flat(&samples, NOISE_KIB);
    println!(
        "1000 requests in {seconds:.0} s, each answered with the bytes of the first: the server has {first:.0} KiB \
         resident in the first tenth, {last:.0} KiB in the last"
    );
}
