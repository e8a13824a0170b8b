//! Files that are read whole: not before their size is known to be one that such a file can have.

use crate::FormatError;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a file of a kind may be at most. Both are far above what sound files have, and low enough that reading a
/// damaged or hostile one takes no memory that a machine would miss: a parsed value takes about 100 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// Values in it, lists and objects included.
    pub(crate) values: usize,
}

/// The bytes of an ordinary file that is not larger than this; the error of one that is names both sizes.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, FormatError> {
    let io = |source| FormatError::io(path, source);
    let size = std::fs::metadata(path).map_err(io)?;
    // A pipe or a device need never end.
    if !size.is_file() {
        return Err(FormatError::malformed(path, "is not a file"));
    }
    let mut bytes = Vec::new();
    if size.len() <= most {
        // One byte more tells that it grew meanwhile.
        File::open(path).map_err(io)?.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    }
    let found = size.len().max(bytes.len() as u64);
    if found > most {
        let reason = format!(
            "has {found} bytes; such a file has at most {most}: damaged, or not what it is taken for"
        );
        return Err(FormatError::malformed(path, reason));
    }
    Ok(bytes)
}

/// The text of an ordinary file in UTF-8, without a byte-order mark.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, FormatError> {
    let mut text = String::from_utf8(read(path, most)?).map_err(|error| {
        let reason = format!("is not UTF-8 text (byte {})", error.utf8_error().valid_up_to());
        FormatError::malformed(path, reason)
    })?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// A file with one JSON document. How deep it may nest is serde_json's own limit, 128.
pub(crate) fn read_json(path: &Path, limits: Limits) -> Result<Value, FormatError> {
    let bytes = read(path, limits.bytes)?;
    check_values(path, &bytes, limits)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| FormatError::malformed(path, format!("is not JSON: {error}")))
}

/// Refuses a JSON text that could have more values than this, before any is made.
pub(crate) fn check_values(path: &Path, text: &[u8], limits: Limits) -> Result<(), FormatError> {
    // Each value but the first of a list or an object comes after a comma. Those within strings count too, which the
    // limits leave room for.
    let values = 1 + text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if values > limits.values {
        let reason = format!(
            "has about {values} values; such a file has at most {}: damaged, or not what it is taken for",
            limits.values
        );
        return Err(FormatError::malformed(path, reason));
    }
    Ok(())
}

/// A value for an error message, cut short when it is long.
pub(crate) fn brief(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_refused_before_it_is_parsed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let limits = Limits { bytes: 10, values: 3 };
        std::fs::write(&path, "[1,2]").unwrap();
        assert_eq!(read_json(&path, limits).unwrap(), serde_json::json!([1, 2]));
        std::fs::write(&path, "[1,2,3]").unwrap();
        assert!(
            read_json(&path, limits)
                .unwrap_err()
                .to_string()
                .contains("about 4 values; such a file has at most 3")
        );
        std::fs::write(&path, "[1       ]").unwrap();
        assert!(read_json(&path, limits).is_ok());
        std::fs::write(&path, "[1        ]").unwrap();
        assert!(read_json(&path, limits).unwrap_err().to_string().contains("has 11 bytes"));
        assert!(read(dir.path(), 10).unwrap_err().to_string().contains("is not a file"));
        assert!(read(Path::new("/dev/zero"), 10).is_err());
        std::fs::write(&path, "\u{feff}a").unwrap();
        assert_eq!(read_text(&path, 10).unwrap(), "a");
        std::fs::write(&path, b"a\xFFb").unwrap();
        assert!(read_text(&path, 10).unwrap_err().to_string().contains("is not UTF-8 text (byte 1)"));
    }

    #[test]
    fn nesting_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep.json");
        std::fs::write(&path, "[".repeat(100_000)).unwrap();
        let error = read_json(&path, Limits { bytes: 1 << 20, values: 1 << 20 }).unwrap_err().to_string();
        assert!(error.contains("recursion limit"), "{error}");
    }
}
