//! Several files in one input, so that a corpus can be read and written by hand.
//!
//! ```text
//! === vocab.json
//! {"a": 0}
//! === merges.txt
//! #version: 0.2
//! ```

use std::path::Path;
use tempfile::TempDir;

/// What begins a file, at the beginning of the input or after a line break, which is not part of the file before.
const MARK: &[u8] = b"=== ";

/// The files of an input that have one of these names, in its order; an input without a mark is a file of the first name.
pub(crate) fn split<'a>(bytes: &'a [u8], names: &[&'static str]) -> Vec<(&'static str, &'a [u8])> {
    let mut files: Vec<(&'static str, &[u8])> = Vec::new();
    let mut from = 0; // where the file before begins
    let mut at = 0;
    while at < bytes.len() {
        let line_end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |n| at + n);
        let name = bytes[at..line_end].strip_prefix(MARK);
        let known = name.and_then(|name| names.iter().find(|known| known.as_bytes() == name));
        let next = (line_end + 1).min(bytes.len());
        if let Some(known) = known {
            if let Some((_, content)) = files.last_mut() {
                *content = &bytes[from..at.saturating_sub(1).max(from)];
            }
            files.push((known, &bytes[next..]));
            from = next;
        }
        at = line_end + 1;
    }
    if files.is_empty() { vec![(names[0], bytes)] } else { files }
}

/// A directory with these files, in memory where the system has such a place.
pub(crate) fn directory(files: &[(&'static str, &[u8])]) -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let directory = made.expect("a directory for the files");
    for (name, content) in files {
        std::fs::write(directory.path().join(name), content).expect("writing a file");
    }
    directory
}
