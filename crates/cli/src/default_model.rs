//! Where the shipped model lies.

use crate::error::CliError;
use std::path::{Path, PathBuf};

/// The shipped model, below the root of the project.
const SHIPPED: &str = "models/atlas";

/// The directory given, or the shipped model: below the current directory, below a directory above the
/// executable, or in the source tree this was built from.
pub(crate) fn resolve(given: Option<&Path>) -> Result<PathBuf, CliError> {
    if let Some(dir) = given {
        return Ok(dir.to_owned());
    }
    let executable = std::env::current_exe().ok();
    let above = executable.iter().flat_map(|path| path.ancestors().skip(1)).map(|dir| dir.join(SHIPPED));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(|root| root.join(SHIPPED));
    std::iter::once(PathBuf::from(SHIPPED))
        .chain(above)
        .chain(source)
        .find(|dir| dir.join("config.json").is_file())
        .ok_or_else(|| {
            CliError::Failed(format!(
                "the shipped model ({SHIPPED}) was found neither in the current directory nor above the \
                 executable: give --model DIR"
            ))
        })
}
