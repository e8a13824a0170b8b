//! Hostile files on stable Rust: every file of the corpora, and a bounded run of files that are made from them, always the
//! same. `scripts/fuzz.sh` is the long run, guided by what the code does with them.

#[path = "src/targets/server_request.rs"]
#[cfg(unix)]
mod server_request;
#[path = "src/targets/mod.rs"]
mod targets;

mod mutation;

use mutation::Mutator;
use peak_alloc::PeakAlloc;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One target at a time: they share the count of memory.
static ONE: Mutex<()> = Mutex::new(());

/// Longest that an input may take, on a busy machine and without optimisation. The slowest of them take a tenth.
const LONGEST: Duration = Duration::from_secs(20);
/// Made inputs of each target, and how long they may take together: what is left then is not run.
const MADE: usize = 4000;
const MADE_FOR: Duration = Duration::from_millis(2500);

#[test]
fn config() {
    replay("config", targets::config);
}

#[test]
fn safetensors() {
    replay("safetensors", targets::safetensors);
}

#[test]
fn tokenizer() {
    replay("tokenizer", targets::tokenizer);
}

#[test]
fn trace_file() {
    replay("trace_file", targets::trace_file);
}

#[test]
fn task_and_edit() {
    replay("task_and_edit", targets::task_and_edit);
}

#[cfg(unix)]
#[test]
fn server_request() {
    replay("server_request", server_request::server_request);
}

/// Runs a target over its corpus and over what is made of it.
fn replay(name: &str, target: fn(&[u8])) {
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{} has {} files", directory.display(), files.len());
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();

    // A thread of its own, so that one that hangs is noticed: it sends each input before and after its run.
    let (events, received) = channel();
    let worker = std::thread::spawn(move || {
        let run = |label: String, bytes: Vec<u8>| {
            let _ = events.send(Some((label, bytes.clone())));
            targets::bounded(&MEMORY, &bytes, target);
            let _ = events.send(None);
        };
        for (file, bytes) in files.iter().zip(&corpus) {
            run(file.display().to_string(), bytes.clone());
        }
        let mut mutator = Mutator::new(&corpus);
        let started = Instant::now();
        for number in 0..MADE {
            if started.elapsed() > MADE_FOR {
                println!("{number} of {MADE} made inputs were run");
                break;
            }
            run(format!("made input {number}"), mutator.next());
        }
    });
    let mut current = None;
    loop {
        match received.recv_timeout(LONGEST) {
            Ok(event) => current = event,
            Err(reason) => {
                let Some((label, bytes)) = current else { break };
                let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{name}"));
                std::fs::write(&kept, bytes).unwrap();
                let what = match reason {
                    RecvTimeoutError::Timeout => "hangs",
                    RecvTimeoutError::Disconnected => "fails, as said above",
                };
                panic!("{name} {what}: {label}; its bytes are in {}", kept.display());
            }
        }
    }
    worker.join().unwrap();
}
