//! Every other writer, killed: what was there before is there still, or the new one whole; a re-run works.

use crate::files::{litter, prompts, visible};
use crate::harness::{Scratch, command, retrograd};
use crate::moments::{Fate, Moments, killed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Files = BTreeMap<String, Vec<u8>>;

/// A command that writes below `out` in a directory of its own.
struct Writer {
    name: &'static str,
    args: Vec<String>,
    /// The same for something else, where files are replaced: what is there before.
    before: Option<Vec<String>>,
    /// Flags of a re-run.
    again: &'static [&'static str],
    /// Whether the output is a directory that is there whole or not at all.
    whole: bool,
    /// Files whose bytes differ from run to run: they must be JSON.
    varying: &'static [&'static str],
}

/// Prompt, target and the rest.
fn trace_of<'a>(command: &'a str, capital: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&[command, "The capital of France is", "--target", capital], rest].concat()
}

fn writers(scratch: &Scratch) -> Vec<Writer> {
    let pairs =
        [("France", "Paris"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Japan", "Tokyo"), ("Peru", "Lima")];
    let pairs: Vec<Value> = pairs.iter().map(|(i, o)| json!({"input": i, "output": o})).collect();
    let task = scratch.file("capitals.json", Value::from(pairs).to_string().as_bytes());
    let table = scratch.file("table.jsonl", prompts(24).as_bytes());
    let text: String = (0..60).map(|i| format!("The number {i} comes before {}.\n", i + 1)).collect();
    let text = scratch.file("text.txt", text.as_bytes());

    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let file = |name: &'static str, command: &str, rest: &[&str]| Writer {
        name,
        args: words(&trace_of(command, " Paris", rest)),
        before: Some(words(&trace_of(command, " Rome", rest))),
        again: &[],
        whole: false,
        varying: &[],
    };
    let directory = |name: &'static str, args: &[&str]| Writer {
        name,
        args: words(args),
        before: None,
        again: &[],
        whole: false,
        varying: &[],
    };
    let report = [
        "report",
        &task,
        "--out",
        "out",
        "--shots-ranked",
        "1",
        "--shots",
        "0",
        "--alphas=-1",
        "--maps",
        "reversed",
        "--draws=1",
        "--random-draws",
        "1",
        "--keep",
        "0,100",
    ];
    let edit = [
        "edit",
        "The capital of France is",
        "--target",
        " Rome",
        "--layer",
        "1",
        "--eta",
        "0.2",
        "--out",
        "out",
    ];
    let sweep = ["sweep", &table, "--out", "out", "--part-rows", "4"];
    vec![
        file("trace", "trace", &["--out", "out/trace.safetensors"]),
        file(
            "attention",
            "attention",
            &["--svg", "out/a.svg", "--csv", "out/a.csv", "--out", "out/a.safetensors"],
        ),
        file("lens page", "lens", &["--html", "out/page.html"]),
        Writer { whole: true, varying: &["retrograd-edit.json"], ..directory("edited model", &edit) },
        Writer { varying: &["manifest.json"], ..directory("report", &report) },
        Writer { again: &["--resume"], varying: &["sweep.json"], ..directory("sweep", &sweep) },
        directory("tokenizer", &["tokenizer", "--text", &text, "--vocab", "270", "--out", "out"]),
        Writer {
            varying: &["retrograd/tuning.json"],
            ..directory("tuning cache", &["bench", "tune", "--shape", "atlas", "--length", "4", "--quick"])
        },
    ]
}

/// A writer in a directory of its own, with what it writes when it is left alone.
struct Case<'a> {
    writer: &'a Writer,
    scratch: Scratch,
    old: Files,
    new: Files,
    longest: Duration,
}

impl<'a> Case<'a> {
    fn new(writer: &'a Writer) -> Case<'a> {
        let case = Case {
            writer,
            scratch: Scratch::new(),
            old: Files::new(),
            new: Files::new(),
            longest: Duration::ZERO,
        };
        let old = match &writer.before {
            Some(before) => {
                case.reset();
                case.run(before);
                case.found()
            }
            None => Files::new(),
        };
        let case = Case { old, ..case };
        case.reset();
        let started = Instant::now();
        case.run(&writer.args);
        let longest = started.elapsed();
        let new = case.found();
        assert!(!new.is_empty(), "{}", writer.name);
        Case { new, longest, ..case }
    }

    fn out(&self) -> PathBuf {
        self.scratch.path("out").into()
    }

    /// As it was before: the files of another run, or nothing.
    fn reset(&self) {
        let out = self.out();
        let _ = std::fs::remove_dir_all(&out);
        if self.writer.before.is_some() {
            std::fs::create_dir(&out).unwrap();
        }
        for (name, content) in &self.old {
            std::fs::write(out.join(name), content).unwrap();
        }
    }

    /// Paths are below this case's directory; the cache is its output too.
    fn args(&self, args: &[String]) -> Vec<String> {
        args.iter()
            .map(|arg| if arg.starts_with("out") { self.scratch.path(arg) } else { arg.clone() })
            .collect()
    }

    fn env(&self) -> Option<String> {
        (self.writer.name == "tuning cache").then(|| self.scratch.path("out"))
    }

    fn run(&self, args: &[String]) {
        let args = self.args(args);
        let mut command = command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        command.envs(self.env().map(|dir| ("XDG_CACHE_HOME", dir)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {}", self.writer.name, String::from_utf8_lossy(&output.stderr));
    }

    /// What is there and ours: drivers keep their shaders in the cache directory too.
    fn found(&self) -> Files {
        let mut files = visible(&self.out());
        files.retain(|name, _| self.env().is_none() || name.starts_with("retrograd/"));
        files
    }

    /// Whether what is there is new; every file is old or new, and whole.
    fn check(&self) -> bool {
        let found = self.found();
        for (name, content) in &found {
            let either = self.new.get(name) == Some(content) || self.old.get(name) == Some(content);
            // A ledger grows.
            let parses = || serde_json::from_slice::<Value>(content).is_ok();
            let grows = name.ends_with("progress.json") || self.writer.varying.contains(&name.as_str());
            assert!(
                either || (grows && parses()),
                "{}: {name} is neither the old file nor the new",
                self.writer.name
            );
        }
        for name in self.old.keys() {
            assert!(found.contains_key(name), "{}: {name} is gone", self.writer.name);
        }
        let complete = self.new.keys().all(|name| found.contains_key(name));
        if self.writer.whole && !found.is_empty() {
            assert!(complete, "{}: a directory with {:?}", self.writer.name, found.keys());
        }
        complete
    }

    /// Kills it so many times, and runs it to its end after each. Returns in how many kills something was half written.
    fn kill(&self, kills: usize) -> usize {
        let mut moments = Moments::new(self.writer.name.len() as u64);
        let (mut done, mut in_a_write, mut in_time) = (0, 0, 0);
        while done < kills {
            self.reset();
            let args = self.args(&self.writer.args);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let cache = self.env();
            let env: Vec<(&str, &str)> = cache.iter().map(|dir| ("XDG_CACHE_HOME", dir.as_str())).collect();
            let dir = PathBuf::from(self.scratch.path(""));
            let fate = match (done + in_time) % 3 {
                0 => killed(&args, &env, moments.within(self.longest), None),
                _ => killed(&args, &env, moments.within(Duration::from_millis(4)), Some(&dir)),
            };
            let Fate::Killed { writing } = fate else {
                in_time += 1;
                assert!(in_time < 10 * kills, "{}: is always faster", self.writer.name);
                continue;
            };
            done += 1;
            in_a_write += usize::from(writing);
            if self.check() && self.writer.whole {
                std::fs::remove_dir_all(self.out()).unwrap();
            }
            let again = self.writer.again.iter().map(|flag| (*flag).to_owned());
            self.run(&self.writer.args.iter().cloned().chain(again).collect::<Vec<_>>());
            assert!(self.check(), "{}: not complete after a re-run", self.writer.name);
            for (name, content) in &self.found() {
                let varies = self.writer.varying.contains(&name.as_str());
                assert!(
                    varies || self.new.get(name) == Some(content),
                    "{}: {name} differs",
                    self.writer.name
                );
            }
            assert_eq!(litter(&dir), Vec::<String>::new(), "{}", self.writer.name);
        }
        in_a_write
    }
}

fn kill_writers(chosen: impl Fn(&str) -> bool, kills: usize) {
    let scratch = Scratch::new();
    for writer in writers(&scratch).iter().filter(|writer| chosen(writer.name)) {
        let started = Instant::now();
        let in_a_write = Case::new(writer).kill(kills);
        let seconds = started.elapsed().as_secs_f64();
        println!("{}: {kills} kills, {in_a_write} with something half written, {seconds:.0} s", writer.name);
    }
}

#[test]
fn a_few_kills_of_writers() {
    kill_writers(|name| ["trace", "edited model"].contains(&name), 2);
}

#[test]
#[ignore = "20 kills of each take minutes"]
fn kills_of_writers() {
    kill_writers(|name| name != "tuning cache", 20);
}

#[test]
#[ignore = "20 kills of something that measures for seconds take minutes"]
fn kills_of_the_tuning_cache() {
    kill_writers(|name| name == "tuning cache", 20);
}

/// What killed writers left goes with the next run there, whatever it writes.
#[test]
fn a_writer_removes_what_killed_ones_left_and_nothing_else() {
    let scratch = Scratch::new();
    for name in [".retrograd-aaaaaa.partial", "kept.partial", ".retrograd-kept"] {
        scratch.file(name, b"half");
    }
    retrograd(&["trace", "--ids", "3", "--target-id", "2", "--out", &scratch.path("t.safetensors")])
        .succeeds();
    let names: Vec<String> = scratch.names().iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    if cfg!(unix) {
        assert_eq!(names, [".retrograd-kept", "kept.partial", "t.safetensors"]);
    }
}
