//! The directory of a run: what it is of, and its parts.
//!
//! ```text
//! sweep.json                  what the run is of: whoever writes here must be doing the same
//! part-00000.parquet          finished, or not there
//! part-00000.rejects.jsonl    its rows that could not be traced, if any
//! ```

use crate::error::SweepError;
use crate::result::Rejected;
use arrow_array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use retrograd_formats::{DirectoryLock, FormatError, Ledger, write_atomic};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What the run is of.
const MANIFEST: &str = "sweep.json";

pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Checks that a run of this kind may write here. `own` are the parts that it is to do. Nothing is written yet.
    pub(crate) fn check(path: &Path, of: &Value, own: &[usize], resume: bool) -> Result<Self, SweepError> {
        let directory = Directory { path: path.to_owned() };
        let wrong = |reason: String| Err(FormatError::malformed(path, reason).into());
        if !path.exists() {
            let parent =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return match parent.is_dir() {
                true => Ok(directory),
                false => wrong(format!("cannot be made: there is no directory {}", parent.display())),
            };
        }
        let entries = std::fs::read_dir(path).map_err(|error| FormatError::io(path, error))?;
        // What a killed process left half written is nobody's.
        let foreign =
            entries.flatten().any(|entry| !entry.file_name().to_string_lossy().starts_with(".retrograd-"));
        if foreign && !path.join(MANIFEST).is_file() {
            return wrong("is not empty and holds no sweep: give the name of a new directory".to_owned());
        }
        Ledger::open(&path.join(MANIFEST), of.clone())?;
        let done = own.iter().filter(|part| directory.has(**part)).count();
        if done > 0 && !resume {
            let all = own.len();
            return wrong(format!("has {done} of {all} parts of this run already: go on with --resume"));
        }
        Ok(directory)
    }

    /// Writes down what the run is of.
    pub(crate) fn begin(&self, of: &Value) -> Result<(), SweepError> {
        std::fs::create_dir_all(&self.path).map_err(|error| FormatError::io(&self.path, error))?;
        let mut ledger = Ledger::open(&self.path.join(MANIFEST), of.clone())?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        ledger.entry("retrograd", || Ok::<String, FormatError>(version))?;
        Ok(())
    }

    pub(crate) fn has(&self, part: usize) -> bool {
        self.file(part, "parquet").is_file()
    }

    fn file(&self, part: usize, extension: &str) -> PathBuf {
        self.path.join(format!("part-{part:05}.{extension}"))
    }

    /// The right to do a share of the table, which one process at a time has.
    pub(crate) fn claim(&self, (shard, shards): (usize, usize)) -> Result<DirectoryLock, SweepError> {
        Ok(DirectoryLock::acquire(&self.path, &format!("share-{shard}-of-{shards}"))?)
    }

    /// Writes a finished part; its rejects stand before it does.
    pub(crate) fn write(
        &self,
        part: usize,
        batch: &RecordBatch,
        rejected: &[Rejected],
        about: &[(&str, String)],
    ) -> Result<(), SweepError> {
        let rejects = self.file(part, "rejects.jsonl");
        if !rejected.is_empty() {
            let mut lines = String::new();
            for row in rejected {
                let line = serde_json::to_string(row)
                    .map_err(|error| FormatError::malformed(&rejects, error.to_string()))?;
                lines.push_str(&line);
                lines.push('\n');
            }
            write_atomic(&rejects, lines.as_bytes())?;
        }
        let path = self.file(part, "parquet");
        write_atomic(
            &path,
            &parquet_bytes(batch, about).map_err(|error| SweepError::parquet(&path, error))?,
        )?;
        Ok(())
    }
}

fn parquet_bytes(batch: &RecordBatch, about: &[(&str, String)]) -> parquet::errors::Result<Vec<u8>> {
    let about = about.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(about.collect()))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.close()?;
    Ok(bytes)
}
