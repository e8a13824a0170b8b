//! What lies in a directory.

use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// A table of prompts to sweep, as JSON lines.
pub fn prompts(rows: usize) -> String {
    let row = |row: usize| {
        let prompt = format!("The capital of number {row} is");
        json!({"id": row, "prompt": prompt, "target": " Paris"}).to_string() + "\n"
    };
    (0..rows).map(row).collect()
}

/// Every file below a directory by its path in it, but for those under hidden names.
pub fn visible(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    collect(dir, "", &mut |name, path| {
        if !name.rsplit('/').next().unwrap().starts_with('.') {
            found.insert(name.to_owned(), std::fs::read(path).unwrap());
        }
    });
    found
}

/// Everything below a directory that a killed process may have left: names that begin with `.retrograd-`.
pub fn litter(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    collect(dir, "", &mut |name, _| {
        if name.split('/').any(|part| part.starts_with(".retrograd-")) {
            found.push(name.to_owned());
        }
    });
    found
}

fn collect(dir: &Path, above: &str, found: &mut dyn FnMut(&str, &Path)) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = format!("{above}{}", entry.file_name().to_string_lossy());
        match entry.file_type().unwrap().is_dir() {
            // A directory that is being filled is not there yet.
            true if name.ends_with(".partial") => found(&name, &entry.path()),
            true => collect(&entry.path(), &format!("{name}/"), found),
            false => found(&name, &entry.path()),
        }
    }
}
