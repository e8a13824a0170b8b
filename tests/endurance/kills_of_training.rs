//! A training that is killed over and over, and goes on each time, ends in the weights of one that was left alone.

use crate::files::{litter, visible};
use crate::harness::{Scratch, command, retrograd};
use crate::moments::{Fate, Moments, killed};
use retrograd::formats::tensor_file::TensorFile;
use retrograd::{Config, formats::Weights};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

const STATE: &str = "training-state.safetensors";

/// A training of a tiny model that saves after every other step.
struct Training {
    scratch: Scratch,
    steps: u64,
}

impl Training {
    fn new(steps: u64) -> Training {
        let scratch = Scratch::new();
        let text: String = (0..400).map(|i| format!("The number {i} comes before {}.\n", i + 1)).collect();
        let text = scratch.file("text.txt", text.as_bytes());
        let config = json!({
            "model_type": "gpt2", "vocab_size": 300, "n_positions": 24, "n_embd": 12, "n_layer": 1, "n_head": 2,
            "bos_token_id": 0, "eos_token_id": 0,
        });
        scratch.file("config.json", config.to_string().as_bytes());
        let tokenizer = scratch.path("tok");
        retrograd(&["tokenizer", "--text", &text, "--vocab", "300", "--out", &tokenizer]).succeeds();
        Training { scratch, steps }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.scratch.path(name).into()
    }

    fn args(&self, out: &str) -> Vec<String> {
        let file = |name: &str| self.scratch.path(name);
        let steps = self.steps.to_string();
        let pairs = [
            ("--config", file("config.json").as_str()),
            ("--tokenizer", &file("tok")),
            ("--text", &file("text.txt")),
            ("--out", &file(out)),
            ("--batch", "2"),
            ("--context", "8"),
            ("--steps", &steps),
            ("--checkpoint-every", "2"),
        ]
        .map(|(flag, value)| [flag.to_owned(), value.to_owned()]);
        std::iter::once("train".to_owned()).chain(pairs.into_iter().flatten()).collect()
    }

    /// Undisturbed; also the time until its first checkpoint.
    fn undisturbed(&self) -> (Vec<u8>, Duration) {
        let args = self.args("whole");
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let started = Instant::now();
        let mut child = command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let state = self.out("whole").join(STATE);
        while !state.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let first = started.elapsed();
        assert!(child.wait().unwrap().success());
        assert!(litter(&self.out("whole")).is_empty());
        (std::fs::read(self.out("whole").join("model.safetensors")).unwrap(), first)
    }
}

/// What may be found after a kill: every file whole; returns the step from which the training goes on.
fn check(out: &Path, tokenizer: &Path) -> Option<u64> {
    let files = visible(out);
    if files.contains_key("config.json") {
        let config = Config::from_dir(out).unwrap();
        Weights::open(out, &config).unwrap();
    }
    for (name, content) in &files {
        match name.as_str() {
            STATE | "config.json" | "model.safetensors" => {}
            tokenizer_file => {
                assert!(std::fs::read(tokenizer.join(tokenizer_file)).unwrap() == *content, "{name}")
            }
        }
    }
    let state = files.contains_key(STATE).then(|| TensorFile::open(&out.join(STATE)).unwrap())?;
    assert_eq!(state.metadata("format"), Some("retrograd-train/1"));
    Some(state.metadata("step").unwrap().parse().unwrap())
}

/// Kills trainings until there were so many kills; each training goes on until it is complete.
fn kill_and_resume(kills: usize, steps: u64) {
    let training = Training::new(steps);
    let (whole, first_checkpoint) = training.undisturbed();
    let (mut moments, started) = (Moments::new(8), Instant::now());
    let (mut done, mut in_a_write, mut before_a_checkpoint, mut trainings, mut left) = (0, 0, 0, 0, 0);
    while done < kills {
        let name = format!("killed-{trainings}");
        let out = training.out(&name);
        let mut step = None;
        loop {
            let mut args = training.args(&name);
            if step.is_some() {
                args.push("--resume".to_owned());
            }
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            if done >= kills {
                let run = command(&args).output().unwrap();
                assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
                break;
            }
            // Half of them while something is written, wherever that is; half at any time.
            let fate = match done % 2 {
                0 => killed(&args, &[], moments.within(first_checkpoint.mul_f64(2.0)), None),
                _ => {
                    // The first write after a later and later start.
                    killed(&args, &[], moments.within(Duration::from_millis(40)), Some(&out))
                }
            };
            match fate {
                Fate::Ended(run) => {
                    assert_eq!(run.code, Some(0), "{}", run.stderr);
                    break;
                }
                Fate::Killed { writing } => {
                    done += 1;
                    in_a_write += usize::from(writing);
                    left = left.max(litter(&out).len());
                    let now = check(&out, &training.out("tok"));
                    assert!(now >= step, "step {step:?} was saved, and now it is {now:?}");
                    before_a_checkpoint += usize::from(now.is_none());
                    let complete = now.is_none() && step.is_some();
                    step = now;
                    if complete {
                        // Killed between the end of its work and the end of the process.
                        break;
                    }
                }
            }
        }
        trainings += 1;
        let files = visible(&out);
        assert!(
            files["model.safetensors"] == whole,
            "{name}: other weights than those of an undisturbed run"
        );
        assert!(!files.contains_key(STATE));
        assert_eq!(litter(&out), Vec::<String>::new(), "left after a complete run");
    }
    println!(
        "{done} kills ({in_a_write} with a file half written, {before_a_checkpoint} before the first checkpoint) of \
         {trainings} trainings of {steps} steps, each resumed to the undisturbed weights, at most {left} files left \
         by a kill, {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

#[test]
fn a_few_kills_of_a_training() {
    kill_and_resume(4, 12);
}

#[test]
#[ignore = "200 kills take minutes"]
fn kills_of_a_training() {
    kill_and_resume(200, 120);
}
