//! A study of thousands of prompts: a table of work in, a table of measurements out.
//!
//! A row names a prompt and what is differentiated; columns that mean nothing here are carried along. Rows of one length share
//! a pass on the device ([`Gpt2::trace_batch`](retrograd_model::Gpt2::trace_batch)). A row that cannot be traced is put
//! aside with its reason and stops nothing. The measurements of a row do not depend on the rows beside it, so that any
//! division of a table over processes gives the same numbers.
//!
//! - [`Measurer`] turns a batch of rows into a batch of rows with measurements, in memory;
//! - [`Sweep`] does so for a file, part by part, into a directory that can be gone on with.

mod columns;
mod directory;
mod error;
mod fingerprint;
mod measure;
mod result;
mod run;
mod stream;
mod table;
mod work;

pub use columns::{Columns, LensColumns};
pub use error::SweepError;
pub use measure::Measurer;
pub use result::{Measured, Rejected};
pub use run::{Sweep, SweepOptions, SweepProgress, SweepReport};
pub use stream::{from_ipc, to_ipc};
pub use table::Table;
