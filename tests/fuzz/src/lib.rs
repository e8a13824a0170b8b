//! The fuzz targets' functions, for libFuzzer (`fuzz_targets/`). An ordinary test on stable Rust has them too
//! (`replay.rs`).

mod targets;

#[cfg(feature = "server")]
#[path = "targets/server_request.rs"]
mod server_request;

#[cfg(feature = "server")]
pub use server_request::server_request;
pub use targets::*;
