//! Ctrl-C.

use crate::error::CliError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that the first Ctrl-C sets; a second one ends the process at once.
pub(crate) fn flag() -> Result<Arc<AtomicBool>, CliError> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            // 128 + SIGINT, as a shell reports it.
            std::process::exit(130);
        }
    })
    .map_err(|error| CliError::Failed(format!("Ctrl-C cannot be caught: {error}")))?;
    Ok(flag)
}
