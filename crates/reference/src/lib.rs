//! The same mathematics in plain f64 Rust: the oracle.

pub mod ops;
