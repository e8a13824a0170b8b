//! A row of a table as a request.

use crate::columns::{COMPLETION, Columns, IDS, TARGET_ID};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field};
use retrograd_formats::{
    Capture, Config, Objective, RequestError, TokenId, Tokenizer, TraceRequest, parse_ids,
};
use std::sync::Arc;

/// The columns of a batch that say what is to be done, each of one type.
pub(crate) struct WorkColumns {
    id: Option<ArrayRef>,
    prompt: Option<ArrayRef>,
    ids: Option<ArrayRef>,
    target: Option<ArrayRef>,
    target_id: Option<ArrayRef>,
    /// As it stands in the table.
    target_id_given: Option<ArrayRef>,
    completion: Option<ArrayRef>,
}

impl WorkColumns {
    pub(crate) fn of(batch: &RecordBatch, columns: &Columns) -> Result<Self, RequestError> {
        let text = |name: &str| column(batch, name, &DataType::Utf8);
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
        // Ids are a list, or a text as on the command line.
        let ids = match batch.column_by_name(IDS).map(|column| column.data_type()) {
            Some(DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) => {
                column(batch, IDS, &list)?
            }
            _ => text(IDS)?,
        };
        Ok(WorkColumns {
            id: column(batch, &columns.id, &DataType::Utf8)?,
            prompt: text(&columns.prompt)?,
            ids,
            target: text(&columns.target)?,
            target_id: column(batch, TARGET_ID, &DataType::Float64)?,
            target_id_given: text(TARGET_ID)?,
            completion: text(COMPLETION)?,
        })
    }

    /// What a row is called; `None` where the table has no ids or the row has none.
    pub(crate) fn id(&self, row: usize) -> Option<String> {
        text_at(&self.id, row).map(str::to_owned)
    }

    pub(crate) fn has_ids(&self) -> bool {
        self.id.is_some()
    }

    /// The request of a row, checked against the model.
    pub(crate) fn request(
        &self,
        row: usize,
        columns: &Columns,
        capture: &Capture,
        (config, tokenizer): (&Config, Option<&Tokenizer>),
    ) -> Result<TraceRequest, RequestError> {
        let tokenizer = || {
            tokenizer.ok_or_else(|| {
                RequestError::invalid("prompt", "the model has no tokenizer: give ids and target_id")
            })
        };
        let mut ids = self.tokens(row, columns, tokenizer)?;
        let objective = if columns.next_token {
            Objective::NextToken
        } else if let Some(text) = text_at(&self.target, row) {
            Objective::Target(target(text, columns, tokenizer()?)?)
        } else if let Some(given) = text_at(&self.target_id_given, row) {
            Objective::Target(token_id(given, number_at(&self.target_id, row))?)
        } else if let Some(text) = text_at(&self.completion, row) {
            let start = ids.len();
            ids.extend(tokenizer()?.encode(text)?);
            if ids.len() == start {
                return Err(RequestError::invalid(COMPLETION, "is empty: give at least one token of text"));
            }
            Objective::Completion { start }
        } else {
            let reason =
                format!("is missing: the row has no {}, {TARGET_ID} or {COMPLETION}", columns.target);
            return Err(RequestError::invalid("target", reason));
        };
        let request = TraceRequest::new(ids, objective).capture(capture.clone());
        request.resolve(config)?;
        Ok(request)
    }

    fn tokens<'t>(
        &self,
        row: usize,
        columns: &Columns,
        tokenizer: impl Fn() -> Result<&'t Tokenizer, RequestError>,
    ) -> Result<Vec<TokenId>, RequestError> {
        if let Some(text) = text_at(&self.prompt, row) {
            let ids = tokenizer()?.encode(text)?;
            return match ids.is_empty() {
                true => {
                    Err(RequestError::invalid(&columns.prompt, "is empty: give at least one token of text"))
                }
                false => Ok(ids),
            };
        }
        match &self.ids {
            Some(column) if column.is_valid(row) => match column.data_type() {
                DataType::Utf8 => {
                    let text = column.as_string::<i32>().value(row).trim();
                    // A list beside other things in a column of JSON.
                    let list = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                    parse_ids(list.unwrap_or(text))
                }
                _ => {
                    let list = column.as_list::<i32>().value(row);
                    let values = list.as_primitive::<Int64Type>();
                    let id = |at: usize| {
                        let id = (!values.is_null(at)).then(|| values.value(at));
                        let id = id.and_then(|id| u32::try_from(id).ok());
                        id.map(TokenId).ok_or_else(|| {
                            RequestError::invalid(
                                IDS,
                                format!("entry {at} is not a token id (a whole number from 0)"),
                            )
                        })
                    };
                    (0..values.len()).map(id).collect()
                }
            },
            _ => Err(RequestError::invalid(&columns.prompt, "is missing")),
        }
    }
}

fn target(text: &str, columns: &Columns, tokenizer: &Tokenizer) -> Result<TokenId, RequestError> {
    if !columns.first_token {
        return tokenizer.single_token(text);
    }
    tokenizer.encode(text)?.first().copied().ok_or_else(|| RequestError::invalid("target", "is empty"))
}

/// A column in the one type that is worked with; a column of another kind is an error of the table.
fn column(batch: &RecordBatch, name: &str, wanted: &DataType) -> Result<Option<ArrayRef>, RequestError> {
    let Some(column) = batch.column_by_name(name) else { return Ok(None) };
    let wrong = |_: ArrowError| {
        let reason = format!("holds {}, which cannot be read as {wanted}", column.data_type());
        RequestError::invalid(format!("column '{name}'"), reason)
    };
    // A value that cannot be read as wanted is a missing one in its row; only a type that cannot is an error.
    arrow_cast::cast(column, wanted).map(Some).map_err(wrong)
}

fn text_at(column: &Option<ArrayRef>, row: usize) -> Option<&str> {
    let column = column.as_ref().filter(|column| column.is_valid(row))?;
    Some(column.as_string::<i32>().value(row))
}

fn number_at(column: &Option<ArrayRef>, row: usize) -> Option<f64> {
    let column = column.as_ref().filter(|column| column.is_valid(row))?;
    Some(column.as_primitive::<Float64Type>().value(row))
}

/// Ids are whole numbers, also where a table holds them as text, or as floats because some are missing.
fn token_id(given: &str, number: Option<f64>) -> Result<TokenId, RequestError> {
    let whole = number.filter(|number| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number));
    whole.map(|number| TokenId(number as u32)).ok_or_else(|| {
        RequestError::invalid(TARGET_ID, format!("'{given}' is not a token id (a whole number from 0)"))
    })
}
