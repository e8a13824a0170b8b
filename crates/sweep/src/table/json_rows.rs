//! One JSON object a line.

use super::ids::SeenIds;
use super::kind::{Kind, array};
use super::{Scan, Source};
use crate::columns::Columns;
use crate::error::SweepError;
use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use retrograd_formats::FormatError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

/// Where the parts begin.
pub(super) struct JsonRows {
    /// Byte and line, from 1.
    starts: Vec<(u64, u64)>,
}

type Object = Map<String, Value>;

/// Goes through lines that are not blank; each is an object or a reason why not.
struct Lines<'p> {
    path: &'p Path,
    reader: BufReader<File>,
    buffer: Vec<u8>,
    byte: u64,
    line: u64,
}

impl<'p> Lines<'p> {
    fn open(path: &'p Path, (byte, line): (u64, u64)) -> Result<Self, FormatError> {
        let failed = |error| FormatError::io(path, error);
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(byte)).map_err(failed)?;
        Ok(Lines { path, reader: BufReader::with_capacity(1 << 18, file), buffer: Vec::new(), byte, line })
    }

    /// Where the next row begins, and the row.
    #[expect(clippy::type_complexity, reason = "named where it is taken apart")]
    fn next(&mut self) -> Result<Option<((u64, u64), Result<Object, String>)>, FormatError> {
        loop {
            let start = (self.byte, self.line);
            self.buffer.clear();
            let read = self.reader.read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|error| FormatError::io(self.path, error))?;
            if read == 0 {
                return Ok(None);
            }
            (self.byte, self.line) = (self.byte + read as u64, self.line + 1);
            let text = self.buffer.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let row = serde_json::from_slice(text)
                .map_err(|error| format!("line {}: is not a JSON object: {error}", start.1));
            return Ok(Some((start, row)));
        }
    }
}

pub(super) fn scan(path: &Path, columns: &Columns, part_rows: usize) -> Result<Scan, SweepError> {
    let mut lines = Lines::open(path, (0, 1))?;
    let (mut rows, mut starts, mut seen) = (0u64, Vec::new(), SeenIds::default());
    let mut kinds: Vec<(String, Kind)> = Vec::new();
    let mut first_reason = None;
    while let Some((start, row)) = lines.next()? {
        if rows % part_rows as u64 == 0 {
            starts.push(start);
        }
        match row {
            Ok(row) => {
                for (name, value) in &row {
                    match kinds.iter_mut().find(|(have, _)| have == name) {
                        Some((_, kind)) => *kind = kind.and(Kind::of(value)),
                        None => kinds.push((name.clone(), Kind::of(value))),
                    }
                }
                if let Some(id) = row.get(&columns.id).filter(|id| !id.is_null()) {
                    seen.see(rows, id.as_str().unwrap_or(&id.to_string()));
                }
            }
            Err(reason) => first_reason = first_reason.or(Some(reason)),
        }
        rows += 1;
    }
    if let (true, Some(reason)) = (kinds.is_empty(), first_reason) {
        return Err(FormatError::malformed(path, reason).into());
    }
    let fields = kinds.into_iter().map(|(name, kind)| Field::new(name, kind.data_type(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(Scan { schema, rows, repeated: seen.repeated(), source: Source::Json(JsonRows { starts }) })
}

impl JsonRows {
    pub(super) fn read(
        &self,
        path: &Path,
        schema: &SchemaRef,
        part: usize,
        rows: usize,
    ) -> Result<(RecordBatch, BTreeMap<usize, String>), SweepError> {
        let start = self.starts.get(part).copied().unwrap_or((0, 1));
        let mut lines = Lines::open(path, start)?;
        let (mut objects, mut wrong) = (Vec::with_capacity(rows), BTreeMap::new());
        while objects.len() < rows {
            let Some((_, row)) = lines.next()? else { break };
            objects.push(row.unwrap_or_else(|reason| {
                wrong.insert(objects.len(), reason);
                Object::new()
            }));
        }
        let column = |field: &Arc<Field>| {
            array(field.data_type(), objects.len(), objects.iter().map(|object| object.get(field.name())))
        };
        Ok((RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect())?, wrong))
    }
}
