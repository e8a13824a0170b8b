//! What was found out about this machine's adapters, in the user's cache directory.
//!
//! `tuning.json`: for each adapter, driver and version of Retrograd the GEMM variant that `bench tune` measured as
//! the fastest. It may be deleted at any time.

use retrograd_formats::{FormatError, write_atomic};
use retrograd_gpu::AdapterDescription;
use retrograd_gpu::ops::GemmVariant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FORMAT: &str = "retrograd-tuning/1";
const FILE: &str = "tuning.json";

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
struct Tuning {
    format: String,
    choices: Vec<Choice>,
}

/// What is fastest on one adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Name, backend, kind and driver, as [`AdapterDescription`] words them.
    pub adapter: String,
    /// The version that measured: another one has other kernels.
    pub retrograd: String,
    /// The fastest GEMM variant.
    pub gemm: String,
    /// Rates of all variants over the products of one trace, in 10⁹ operations a second.
    pub gflops: BTreeMap<String, f64>,
}

impl Choice {
    /// Of this version for an adapter.
    pub fn new(adapter: &AdapterDescription, gemm: GemmVariant, gflops: BTreeMap<String, f64>) -> Self {
        Choice {
            adapter: adapter.to_string(),
            retrograd: env!("CARGO_PKG_VERSION").to_owned(),
            gemm: gemm.to_string(),
            gflops,
        }
    }
}

/// `$XDG_CACHE_HOME/retrograd`; where that is not set `~/.cache/retrograd`, on macOS `~/Library/Caches/retrograd`, on
/// Windows `%LOCALAPPDATA%\retrograd`. `None` where the environment names no home.
pub fn directory() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = || {
        if cfg!(windows) {
            from("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            from("HOME").map(|home| home.join("Library/Caches"))
        } else {
            from("HOME").map(|home| home.join(".cache"))
        }
    };
    from("XDG_CACHE_HOME").or_else(usual).map(|caches| caches.join("retrograd"))
}

/// The choices of this version, by adapter, as [`GpuOptions::tuned`](retrograd_gpu::GpuOptions::tuned) takes them.
/// A cache that is missing or not readable holds none: it is an aid, not a setting.
pub fn tuned() -> BTreeMap<String, GemmVariant> {
    directory().map(|dir| tuned_in(&dir)).unwrap_or_default()
}

fn tuned_in(dir: &Path) -> BTreeMap<String, GemmVariant> {
    let here = |choice: &Choice| choice.retrograd == env!("CARGO_PKG_VERSION");
    read(dir)
        .into_iter()
        .filter(here)
        .filter_map(|choice| Some((choice.adapter, choice.gemm.parse().ok()?)))
        .collect()
}

fn read(dir: &Path) -> Vec<Choice> {
    let text = std::fs::read(dir.join(FILE)).unwrap_or_default();
    match serde_json::from_slice::<Tuning>(&text) {
        Ok(tuning) if tuning.format == FORMAT => tuning.choices,
        _ => Vec::new(),
    }
}

/// Makes the directory and checks that a file can be written there: asked before anything is measured.
///
/// # Errors
/// With the directory's name, and what to do.
pub fn prepare(dir: &Path) -> Result<(), FormatError> {
    let probe = dir.join(format!(".{}.probe", std::process::id()));
    let tried = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&probe, b""));
    let _ = std::fs::remove_file(&probe);
    tried.map_err(|error| {
        let reason =
            format!("the cache directory cannot be written ({error}); set XDG_CACHE_HOME to one that can");
        FormatError::malformed(dir, reason)
    })
}

/// Keeps a choice in place of an earlier one for that adapter; what other versions found goes.
pub fn store(dir: &Path, choice: Choice) -> Result<PathBuf, FormatError> {
    let mut choices = read(dir);
    choices.retain(|other| other.retrograd == choice.retrograd && other.adapter != choice.adapter);
    choices.push(choice);
    let path = dir.join(FILE);
    let tuning = Tuning { format: FORMAT.to_owned(), choices };
    let text = serde_json::to_string_pretty(&tuning)
        .map_err(|error| FormatError::malformed(&path, format!("cannot be written: {error}")))?;
    write_atomic(&path, (text + "\n").as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(adapter: &str, version: &str, gemm: &str) -> Choice {
        let (adapter, retrograd, gemm) = (adapter.to_owned(), version.to_owned(), gemm.to_owned());
        Choice { adapter, retrograd, gemm, gflops: BTreeMap::new() }
    }

    #[test]
    fn choices_are_kept_by_adapter_and_version() {
        let dir = tempfile::tempdir().unwrap();
        let here = env!("CARGO_PKG_VERSION");
        assert!(tuned_in(dir.path()).is_empty());
        for (adapter, version, gemm) in [
            ("a", "0.0.0", "portable"),
            ("a", here, "workgroup"),
            ("b", here, "portable"),
            ("a", here, "subgroup"),
        ] {
            store(dir.path(), choice(adapter, version, gemm)).unwrap();
        }
        let wanted = [("a", GemmVariant::Subgroup), ("b", GemmVariant::Portable)];
        assert_eq!(tuned_in(dir.path()), wanted.map(|(a, v)| (a.to_owned(), v)).into());
        std::fs::write(dir.path().join(FILE), "{\"format\": \"other\"").unwrap();
        assert!(tuned_in(dir.path()).is_empty());
        store(dir.path(), choice("c", here, "nonsense")).unwrap();
        assert!(tuned_in(dir.path()).is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = prepare(&file.join("retrograd")).unwrap_err().to_string();
        assert!(error.contains("file") && error.contains("XDG_CACHE_HOME"), "{error}");
        prepare(&dir.path().join("a/b")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("a/b")).unwrap().count(), 0);
    }
}
