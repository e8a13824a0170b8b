//! Comma-separated values with a line of names first.

use super::ids::SeenIds;
use super::kind::{Kind, array};
use super::{Scan, Source};
use crate::columns::Columns;
use crate::error::SweepError;
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use csv::{ByteRecord, Position, Reader, ReaderBuilder};
use retrograd_formats::FormatError;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Where the parts begin.
pub(super) struct CsvRows {
    starts: Vec<Position>,
}

fn open(path: &Path) -> Result<Reader<File>, FormatError> {
    let file = File::open(path).map_err(|error| FormatError::io(path, error))?;
    // A row with too many or too few values is one bad row, not a bad file.
    Ok(ReaderBuilder::new().flexible(true).buffer_capacity(1 << 18).from_reader(file))
}

fn failed(path: &Path, error: csv::Error) -> FormatError {
    FormatError::malformed(path, error.to_string())
}

/// The cells of a row as text, or what is wrong with it.
fn cells(record: &ByteRecord, columns: usize) -> Result<Vec<&str>, String> {
    let line = record.position().map_or(0, Position::line);
    if record.len() != columns {
        return Err(format!("line {line}: has {} values and the table {columns} columns", record.len()));
    }
    let texts = record.iter().map(std::str::from_utf8).collect::<Result<_, _>>();
    texts.map_err(|_| format!("line {line}: is not UTF-8"))
}

pub(super) fn scan(path: &Path, columns: &Columns, part_rows: usize) -> Result<Scan, SweepError> {
    let mut reader = open(path)?;
    let names: Vec<String> = {
        let header = reader.headers().map_err(|error| failed(path, error))?;
        // Spreadsheets mark UTF-8 with this.
        header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect()
    };
    let id = names.iter().position(|name| *name == columns.id);
    let texts = columns.texts();
    let first = |name: &String| if texts.contains(&name.as_str()) { Kind::Text } else { Kind::Null };
    let mut kinds: Vec<Kind> = names.iter().map(first).collect();
    let (mut rows, mut starts, mut seen) = (0u64, Vec::new(), SeenIds::default());
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| failed(path, error))? {
        if rows % part_rows as u64 == 0 {
            starts.push(record.position().cloned().unwrap_or_else(Position::new));
        }
        if let Ok(cells) = cells(&record, names.len()) {
            for (kind, cell) in kinds.iter_mut().zip(&cells) {
                *kind = kind.and(Kind::of_cell(cell));
            }
            if let Some(id) = id.and_then(|id| cells.get(id)).filter(|id| !id.is_empty()) {
                seen.see(rows, id);
            }
        }
        rows += 1;
    }
    let fields = names.iter().zip(kinds).map(|(name, kind)| Field::new(name, kind.data_type(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(Scan { schema, rows, repeated: seen.repeated(), source: Source::Csv(CsvRows { starts }) })
}

impl CsvRows {
    pub(super) fn read(
        &self,
        path: &Path,
        schema: &SchemaRef,
        part: usize,
        rows: usize,
    ) -> Result<(RecordBatch, BTreeMap<usize, String>), SweepError> {
        let mut reader = open(path)?;
        reader.byte_headers().map_err(|error| failed(path, error))?;
        let start = self.starts.get(part).cloned().unwrap_or_else(Position::new);
        reader.seek(start).map_err(|error| failed(path, error))?;
        let columns = schema.fields().len();
        let mut values: Vec<Vec<Value>> = vec![Vec::with_capacity(rows); columns];
        let (mut wrong, mut record, mut count) = (BTreeMap::new(), ByteRecord::new(), 0);
        while count < rows && reader.read_byte_record(&mut record).map_err(|error| failed(path, error))? {
            match cells(&record, columns) {
                Ok(cells) => {
                    for ((column, cell), field) in values.iter_mut().zip(cells).zip(schema.fields()) {
                        column.push(value(cell, field.data_type()));
                    }
                }
                Err(reason) => {
                    wrong.insert(count, reason);
                    values.iter_mut().for_each(|column| column.push(Value::Null));
                }
            }
            count += 1;
        }
        let fields = schema.fields().iter().zip(&values);
        let arrays = fields.map(|(field, values)| array(field.data_type(), count, values.iter().map(Some)));
        Ok((RecordBatch::try_new(schema.clone(), arrays.collect())?, wrong))
    }
}

fn value(cell: &str, of: &DataType) -> Value {
    match of {
        _ if cell.is_empty() => Value::Null,
        DataType::Int64 => cell.parse::<i64>().map_or(Value::Null, Value::from),
        DataType::Float64 => cell.parse::<f64>().map_or(Value::Null, Value::from),
        _ => Value::from(cell),
    }
}
