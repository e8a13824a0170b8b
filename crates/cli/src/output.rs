//! What goes to stdout and how text is made safe to print.

use crate::error::CliError;
use retrograd::FormatError;
pub(crate) use retrograd::lens::visible;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

/// Prints one JSON document and a line break.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, document)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints styled text; the styles are left out where stdout is no terminal or `NO_COLOR` is set.
pub(crate) fn print_styled(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Whether a file can be written at `path`: asked before anything is computed for it.
pub(crate) fn check_writable(path: &Path) -> Result<(), FormatError> {
    if path.is_dir() {
        return Err(FormatError::malformed(path, "is a directory; give the name of a file"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        let reason = format!("cannot be written: there is no directory {}", parent.display());
        return Err(FormatError::malformed(path, reason));
    }
    Ok(())
}

/// Whether `path` is a directory or can become one.
pub(crate) fn check_directory(path: &Path) -> Result<(), FormatError> {
    match path.ancestors().find(|above| !above.as_os_str().is_empty() && above.exists()) {
        Some(above) if !above.is_dir() => Err(FormatError::malformed(above, "is not a directory")),
        _ => Ok(()),
    }
}

/// A message on one line, whatever a file name or a driver put into it.
pub(crate) fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for c in message.trim_end().chars() {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c => push_printable(&mut line, c),
        }
    }
    line
}

/// Text for a terminal as it is, but for control characters.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c => push_printable(&mut shown, c),
        }
    }
    shown
}

fn push_printable(text: &mut String, c: char) {
    // Bidirectional marks reorder what stands around them.
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || reorders {
        // Writing to a String does not fail.
        let _ = write!(text, "\\u{{{:x}}}", c as u32);
    } else {
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_show_and_control_characters_are_harmless() {
        assert_eq!(visible(" Paris\n\t"), "␣Paris↵⇥");
        assert_eq!(visible("\u{1b}[2J\u{202e}é"), "\\u{1b}[2J\\u{202e}é");
        assert_eq!(one_line("a\nb\u{7}"), "a b\\u{7}");
        assert_eq!(printable("a b\n\u{1b}"), "a b\n\\u{1b}");
    }
}
