//! When a process is killed.

use crate::harness::{Run, command};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Random moments that are the same in every run (xorshift64*).
pub struct Moments(u64);

impl Moments {
    pub fn new(seed: u64) -> Moments {
        Moments(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A time below this one.
    pub fn within(&mut self, longest: Duration) -> Duration {
        longest.mul_f64((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// How a process ended that was to be killed.
pub enum Fate {
    Killed {
        /// Whether something was being written at that moment.
        writing: bool,
    },
    /// It was faster.
    Ended(Run),
}

/// Starts the command and kills it: after `delay`, or, with `writing_in`, so long after something in there begins to
/// be written.
pub fn killed(args: &[&str], env: &[(&str, &str)], delay: Duration, writing_in: Option<&Path>) -> Fate {
    let mut command = command(args);
    command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let watched = writing_in.map(|dir| wait_for_partial(&mut child, dir));
    if watched != Some(false) {
        // Shorter than a sleep's own inaccuracy, where a write is to be hit.
        let started = Instant::now();
        while started.elapsed() < delay && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(if delay > Duration::from_millis(50) {
                1000
            } else {
                50
            }));
        }
    }
    if child.try_wait().unwrap().is_some() {
        return Fate::Ended(Run::of(child.wait_with_output().unwrap()));
    }
    // SIGKILL on Unix: nothing of the process runs any more.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    match output.status.code() {
        // It ended by itself just before.
        Some(_) => Fate::Ended(Run::of(output)),
        None => Fate::Killed { writing: writing_in.is_some_and(has_partial) },
    }
}

fn wait_for_partial(child: &mut Child, dir: &Path) -> bool {
    loop {
        if has_partial(dir) {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Whether something in a directory, or in one of its directories, is half written.
pub fn has_partial(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().ends_with(".partial")
            || (entry.file_type().is_ok_and(|kind| kind.is_dir()) && has_partial(&entry.path()))
    })
}
