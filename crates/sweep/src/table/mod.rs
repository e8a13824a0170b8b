//! The table of work, read in parts of equal numbers of rows.

mod csv_rows;
mod ids;
mod json_rows;
mod kind;
mod parquet_rows;

use crate::columns::Columns;
use crate::error::SweepError;
use crate::fingerprint;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use retrograd_formats::FormatError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A table in a file: JSON lines, CSV or Parquet, by its name.
///
/// It is gone through once when it is opened: for the types of its columns, the number of its rows and ids that come
/// twice. Then any part can be read by itself.
pub struct Table {
    path: PathBuf,
    schema: SchemaRef,
    rows: u64,
    part_rows: usize,
    /// Rows whose id stands in an earlier one.
    repeated: BTreeMap<u64, String>,
    fingerprint: String,
    source: Source,
}

enum Source {
    Json(json_rows::JsonRows),
    Csv(csv_rows::CsvRows),
    Parquet(parquet_rows::ParquetRows),
}

/// Consecutive rows, and those of them that are known to be wrong, by their place among them.
pub(crate) struct Part {
    pub(crate) first_row: u64,
    pub(crate) batch: RecordBatch,
    pub(crate) wrong: BTreeMap<usize, String>,
}

/// What going through a table once shows.
struct Scan {
    schema: SchemaRef,
    rows: u64,
    repeated: BTreeMap<u64, String>,
    source: Source,
}

impl Table {
    /// Goes through a table. Files that end in `.jsonl` or `.ndjson` hold one JSON object a line, `.csv` ones a line of
    /// names first, `.parquet` ones are Parquet.
    ///
    /// # Errors
    /// When it cannot be read, is empty, or lacks a column that is needed.
    pub fn open(path: &Path, columns: &Columns, part_rows: usize) -> Result<Self, SweepError> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let scan = match extension.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => json_rows::scan(path, columns, part_rows)?,
            "csv" => csv_rows::scan(path, columns, part_rows)?,
            "parquet" | "pq" => parquet_rows::scan(path, columns)?,
            _ => {
                let reason = "is no table by its name: give a .jsonl, .csv or .parquet file";
                return Err(FormatError::malformed(path, reason).into());
            }
        };
        if scan.rows == 0 {
            return Err(FormatError::malformed(path, "has no rows: there is nothing to do").into());
        }
        columns.check(&scan.schema).map_err(|error| FormatError::malformed(path, error.reason))?;
        let fingerprint = fingerprint::of_files(&[path.to_owned()])?;
        let Scan { schema, rows, repeated, source } = scan;
        Ok(Table { path: path.to_owned(), schema, rows, part_rows, repeated, fingerprint, source })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Its parts.
    pub fn parts(&self) -> usize {
        self.rows.div_ceil(self.part_rows as u64) as usize
    }

    /// Rows of a part.
    pub(crate) fn rows_of(&self, part: usize) -> usize {
        let first = part as u64 * self.part_rows as u64;
        (self.rows - first.min(self.rows)).min(self.part_rows as u64) as usize
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Reads a part.
    pub(crate) fn part(&self, part: usize) -> Result<Part, SweepError> {
        let (first_row, rows) = (part as u64 * self.part_rows as u64, self.rows_of(part));
        let (batch, mut wrong) = match &self.source {
            Source::Json(source) => source.read(&self.path, &self.schema, part, rows)?,
            Source::Csv(source) => source.read(&self.path, &self.schema, part, rows)?,
            Source::Parquet(source) => (source.read(&self.path, first_row, rows)?, BTreeMap::new()),
        };
        if batch.num_rows() != rows {
            return Err(FormatError::malformed(&self.path, "has changed while it was read").into());
        }
        let repeated = self.repeated.range(first_row..first_row + rows as u64);
        wrong.extend(repeated.map(|(row, reason)| ((row - first_row) as usize, reason.clone())));
        Ok(Part { first_row, batch, wrong })
    }
}
