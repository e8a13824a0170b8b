//! Errors: each says what was wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

/// A file or directory that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is there but is not what it should be.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and with which field or tensor.
        reason: String,
    },
    /// What was asked for is wrong, not a file.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl FormatError {
    /// Wraps an I/O error with the path it happened at.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        FormatError::Io { path: path.as_ref().to_owned(), source }
    }

    /// A file whose content is wrong.
    pub fn malformed(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        FormatError::Malformed { path: path.as_ref().to_owned(), reason: reason.into() }
    }
}

/// A request that cannot be carried out on this model: wrong ids, layers, targets, maps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
#[non_exhaustive]
pub struct RequestError {
    /// The value or option that is wrong, as the user knows it.
    pub what: String,
    /// What is wrong with it and what would be right.
    pub reason: String,
}

impl RequestError {
    /// `what` is wrong because of `reason`.
    pub fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Self {
        RequestError { what: what.into(), reason: reason.into() }
    }
}
