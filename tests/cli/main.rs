//! The `retrograd` command from outside: what it prints, how it fails.

mod bad_config;
mod bad_request;
mod bad_weights;
mod bench;
mod documents;
mod editing;
mod flow;
mod harness;
mod lens;
mod memory;
mod model_dir;
mod serve;
mod server;
mod sweep;
mod tasks;
mod training;
mod verify;
