//! What is done with the bytes of hostile files: each function gives them to the readers of this project. A reader may
//! refuse; it must not panic, hang or allocate out of proportion, what it says must be fit to be shown, and what it
//! accepts must keep its promises.

mod config;
mod files;
mod safetensors;
mod task_and_edit;
mod tokenizer;
mod trace_file;

pub use config::config;
pub use safetensors::safetensors;
pub use task_and_edit::task_and_edit;
pub use tokenizer::tokenizer;
pub use trace_file::trace_file;

use peak_alloc::PeakAlloc;
use std::fmt::Display;

/// Memory that an input may take, whatever it says: the largest tables that a sound file of this size could need, and
/// those that the tokenizer's regular expressions keep.
const BASE_BYTES: usize = 48 << 20;
/// Memory that an input may take for each of its bytes: a parsed JSON document takes a node of up to 100 bytes for two
/// bytes of text, and is at hand in two or three forms for a moment.
const BYTES_A_BYTE: usize = 512;

/// Runs a target and fails when it takes more memory than an input of this length may.
pub fn bounded(memory: &PeakAlloc, bytes: &[u8], target: fn(&[u8])) {
    let before = memory.current_usage();
    memory.reset_peak_usage();
    target(bytes);
    let taken = memory.peak_usage().saturating_sub(before);
    let allowed = BASE_BYTES + BYTES_A_BYTE * bytes.len();
    assert!(
        taken <= allowed,
        "{} bytes of input took {taken} bytes of memory, {allowed} are allowed",
        bytes.len()
    );
}

/// Longest message of an error: some lines of a terminal.
const LONGEST_MESSAGE: usize = 4096;

/// An error must be a line that can be shown: not empty, not endless, without control characters, which a terminal
/// would obey.
fn fit_to_be_shown(error: impl Display) {
    let text = error.to_string();
    assert!(!text.trim().is_empty(), "an error without a message");
    assert!(text.len() <= LONGEST_MESSAGE, "a message of {} bytes: {text:.200}", text.len());
    assert!(!text.contains(|c: char| c.is_control()), "a message with control characters: {text:?}");
}

/// The value, or `None` for an error, which must be fit to be shown.
fn sound<T>(result: Result<T, impl Display>) -> Option<T> {
    result.map_err(fit_to_be_shown).ok()
}
