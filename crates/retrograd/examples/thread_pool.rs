// One model, many threads: clones share the device and its weights, and every thread gets the bits that it would get alone.
// (For thousands of prompts `retrograd sweep`, which puts them into batches, is faster than threads.)

use retrograd::{Gpt2, Gpu, GpuOptions, Precision, TextObjective, TraceRead, TraceRequest};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

const THREADS: usize = 4;
const CAPITALS: [(&str, &str); 6] = [
    ("France", " Paris"),
    ("Italy", " Rome"),
    ("Japan", " Tokyo"),
    ("Egypt", " Cairo"),
    ("Peru", " Lima"),
    ("Cuba", " Havana"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    let requests: Vec<TraceRequest> = CAPITALS
        .iter()
        .map(|(country, capital)| {
            model.request(&format!("The capital of {country} is"), TextObjective::Target(capital))
        })
        .collect::<Result<_, _>>()?;

    let next = AtomicUsize::new(0);
    let (results, received) = channel();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (model, results, requests, next) = (model.clone(), results.clone(), &requests, &next);
            scope.spawn(move || {
                while let Some((at, request)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    requests.get(at).map(|request| (at, request))
                } {
                    let loss = model.trace(request).map_err(|e| e.to_string());
                    let loss = loss.and_then(|trace| trace.loss().map_err(|e| e.to_string()));
                    if results.send((at, loss)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    drop(results);

    let mut losses: Vec<_> = received.into_iter().collect();
    losses.sort_by_key(|(at, _)| *at);
    for (at, loss) in losses {
        let loss = loss?;
        assert_eq!(loss.to_bits(), model.trace(&requests[at])?.loss()?.to_bits());
        println!("{:8}{:8} loss {loss:.4}", CAPITALS[at].0, CAPITALS[at].1);
    }
    Ok(())
}
