//! Parquet.

use super::ids::SeenIds;
use super::{Scan, Source};
use crate::columns::Columns;
use crate::error::SweepError;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::{DataType, Schema};
use arrow_select::concat::concat_batches;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use retrograd_formats::FormatError;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The file's table of contents.
pub(super) struct ParquetRows {
    metadata: ArrowReaderMetadata,
}

fn open(path: &Path) -> Result<File, FormatError> {
    File::open(path).map_err(|error| FormatError::io(path, error))
}

pub(super) fn scan(path: &Path, columns: &Columns) -> Result<Scan, SweepError> {
    let failed = |error| SweepError::parquet(path, error);
    let metadata = ArrowReaderMetadata::load(&open(path)?, Default::default()).map_err(failed)?;
    let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
    let mut seen = SeenIds::default();
    if let Some((id, _)) = metadata.schema().column_with_name(&columns.id) {
        let mask = ProjectionMask::roots(metadata.parquet_schema(), [id]);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(open(path)?, metadata.clone())
            .with_projection(mask)
            .build()
            .map_err(failed)?;
        let mut row = 0;
        for batch in reader {
            let ids = arrow_cast::cast(batch?.column(0), &DataType::Utf8)?;
            for id in ids.as_string::<i32>() {
                if let Some(id) = id {
                    seen.see(row, id);
                }
                row += 1;
            }
        }
    }
    // Without what pandas and others keep there for themselves.
    let schema = Arc::new(Schema::new(metadata.schema().fields().clone()));
    Ok(Scan { schema, rows, repeated: seen.repeated(), source: Source::Parquet(ParquetRows { metadata }) })
}

impl ParquetRows {
    pub(super) fn read(&self, path: &Path, first_row: u64, rows: usize) -> Result<RecordBatch, SweepError> {
        let failed = |error| SweepError::parquet(path, error);
        let first = usize::try_from(first_row).unwrap_or(usize::MAX);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(open(path)?, self.metadata.clone())
            .with_offset(first)
            .with_limit(rows)
            .with_batch_size(rows.max(1))
            .build()
            .map_err(failed)?;
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        Ok(concat_batches(self.metadata.schema(), &batches)?)
    }
}
