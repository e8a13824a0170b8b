//! Runs the command and looks at how it ended.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A fixture's directory.
pub fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

/// The command, not yet run; stdin is empty and the environment asks for no colours.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retrograd"));
    command.args(args).stdin(Stdio::null());
    command
}

/// How a command ended.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the command to its end.
pub fn retrograd(args: &[&str]) -> Run {
    Run::of(command(args).output().unwrap())
}

impl Run {
    pub fn of(output: Output) -> Run {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Exit 0 and nothing on stderr; what was printed.
    pub fn succeeds(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "stdout: {}", self.stdout);
        self.stdout
    }

    /// Exit 0; the one JSON document that was printed.
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.succeeds()).expect("stdout is one JSON document")
    }

    /// Exit `code`, one line on stderr that has all of `parts`, nothing on stdout.
    pub fn fails_with(self, code: i32, parts: &[&str]) {
        let Run { stderr, stdout, .. } = &self;
        assert_eq!(self.code, Some(code), "stderr: {stderr}");
        assert_eq!(stdout, "");
        assert!(stderr.starts_with("error: ") && stderr.ends_with('\n'), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "'{part}' is not in: {stderr}");
        }
    }

    /// As [`fails_with`](Run::fails_with) for exit 1.
    pub fn fails(self, parts: &[&str]) {
        self.fails_with(1, parts);
    }

    /// Exit 2, as the argument parser words it: its first line has all of `parts`.
    pub fn fails_as_usage(self, parts: &[&str]) {
        assert_eq!(self.code, Some(2), "stderr: {}", self.stderr);
        let first = self.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("error: "), "{}", self.stderr);
        for part in parts {
            assert!(first.contains(part), "'{part}' is not in: {first}");
        }
    }
}

/// A directory for one test's output.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Whether there is a file of this name.
    pub fn exists(&self, name: &str) -> bool {
        self.0.path().join(name).is_file()
    }

    /// What lies in it.
    pub fn names(&self) -> Vec<PathBuf> {
        let mut names: Vec<PathBuf> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into())
            .collect();
        names.sort();
        names
    }
}

/// A trace that is to fail: with `--out`, and no file may be left of it.
pub fn trace_fails(args: &[&str], parts: &[&str]) {
    trace_fails_with(1, args, parts);
}

/// As [`trace_fails`] with another exit code.
pub fn trace_fails_with(code: i32, args: &[&str], parts: &[&str]) {
    let scratch = Scratch::new();
    let out = scratch.path("trace.safetensors");
    let args = [&["trace", "--out", &out], args].concat();
    retrograd(&args).fails_with(code, parts);
    assert!(scratch.names().is_empty(), "left behind: {:?}", scratch.names());
}
