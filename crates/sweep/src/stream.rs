//! Tables in memory, as Arrow's stream format: how they come from another language and go back.

use crate::error::SweepError;
use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_select::concat::concat_batches;

/// All rows of a stream as one batch.
///
/// # Errors
/// When the bytes are no stream.
pub fn from_ipc(bytes: &[u8]) -> Result<RecordBatch, SweepError> {
    let reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

/// A batch as a stream.
///
/// # Errors
/// When a column cannot be written.
pub fn to_ipc(batch: &RecordBatch) -> Result<Vec<u8>, SweepError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    Ok(writer.into_inner()?)
}
