//! Errors: each says what was wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

/// Characters of a message at most; beginning and end remain. What a file says about itself can be megabytes long.
const LONGEST: usize = 1000;

/// A message as one line that a terminal can show: messages quote names and values of files that anybody may have
/// written, and a terminal obeys control characters.
fn one_line(text: String) -> String {
    // Bytes are no fewer than characters, so that the usual message is looked at only once.
    if text.len() <= LONGEST && !text.contains(char::is_control) {
        return text;
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    if text.chars().count() <= LONGEST {
        return text.chars().map(shown).collect();
    }
    let head = text.chars().take(LONGEST - LONGEST / 4).map(shown);
    let tail: Vec<char> = text.chars().rev().take(LONGEST / 4).collect();
    let tail = tail.into_iter().rev().map(shown);
    head.chain(["…".to_owned()]).chain(tail).collect()
}

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
        FormatError::Malformed { path: path.as_ref().to_owned(), reason: one_line(reason.into()) }
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
        RequestError { what: one_line(what.into()), reason: one_line(reason.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(RequestError::invalid("site", "'a' is none").to_string(), "site: 'a' is none");
        let error = FormatError::malformed("m", "has no tensor a\nb\u{1b}[2J\u{9b}é").to_string();
        assert_eq!(error, "m: has no tensor a\\nb\\u{1b}[2J\\u{9b}é");
        let long = RequestError::invalid("token", format!("'{}' is unknown", "é".repeat(5000)));
        assert_eq!(long.reason.chars().count(), LONGEST + 1);
        assert!(long.reason.starts_with("'éé") && long.reason.ends_with("éé' is unknown"), "{long}");
    }
}
