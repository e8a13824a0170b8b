//! What a user must be able to rely on when a run is cut short, goes on for long, or meets another: writers killed at
//! random moments, full disks, thousands of traces and requests, two processes at once.
//!
//! Each has a short version, which is part of the ordinary tests, and a long one, whose figures are in
//! docs/reliability.md:
//!
//! ```text
//! cargo test --workspace --test endurance -- --ignored --nocapture --test-threads 1 kills
//! cargo test --workspace --test endurance -- --ignored --nocapture --test-threads 1 soak
//! ```

#[path = "../cli/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the command, which use all of it")]
mod harness;

mod files;
#[cfg(unix)]
mod full_disk;
mod kills_of_training;
mod kills_of_writers;
mod lost_device;
mod moments;
#[path = "../cli/server.rs"]
mod server;
mod soak;
mod two_processes;
