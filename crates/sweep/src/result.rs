//! What came of a row.

use crate::columns::Columns;
use arrow_array::builder::{Float32Builder, ListBuilder};
use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::{
    ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    UInt32Array,
};
use arrow_schema::ArrowError;
use arrow_select::take::take;
use retrograd_formats::{TokenId, Tokenizer};
use serde::Serialize;
use std::sync::Arc;

/// The measurements of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Tokens of the pass.
    pub tokens: usize,
    /// The loss.
    pub loss: f32,
    /// The most probable token after the last position that carries loss, with its probability.
    pub answer: (TokenId, f64),
    /// What the objective wants there.
    pub target: TokenId,
    /// Tokens that are strictly more probable.
    pub target_rank: usize,
    /// The target's probability.
    pub target_probability: f64,
    /// ‖A‖, `[n_layer][n_head]`.
    pub pattern_norm: Vec<Vec<f32>>,
    /// ‖R‖, `[n_layer][n_head]`.
    pub reversed_norm: Vec<Vec<f32>>,
    /// ‖δ‖ at the output of `attn.c_proj`, `[n_layer]`, over all positions.
    pub attn_delta_norm: Vec<f32>,
    /// ‖δ‖ at the output of `mlp.c_proj`, `[n_layer]`.
    pub mlp_delta_norm: Vec<f32>,
    /// For each tensor that was asked for, its reading in each layer.
    pub lens: Vec<Vec<LensReading>>,
}

/// A vector read in the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct LensReading {
    /// Tokens that are strictly more probable than the target.
    pub target_rank: usize,
    /// Tokens that are strictly more probable than the model's answer.
    pub answer_rank: usize,
    /// The most probable token.
    pub top: TokenId,
    /// The least probable one.
    pub bottom: TokenId,
}

/// A row that was not traced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its number in the table, from 0.
    pub row: u64,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is wrong with it.
    pub reason: String,
}

/// The given rows of a batch with their measurements beside them.
pub(crate) fn assemble(
    batch: &RecordBatch,
    first_row: u64,
    rows: &[usize],
    measured: &[Measured],
    columns: &Columns,
    tokenizer: Option<&Tokenizer>,
) -> Result<RecordBatch, ArrowError> {
    let schema = columns.schema(&batch.schema());
    let indices = UInt32Array::from_iter_values(rows.iter().map(|row| *row as u32));
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    if batch.column_by_name(&columns.id).is_none() {
        let number = |row: &usize| (first_row + *row as u64) as i64;
        arrays.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(number))));
    }
    for column in batch.columns() {
        arrays.push(take(column, &indices, None)?);
    }

    let count = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    let text = |id: TokenId| tokenizer.map(|tokenizer| tokenizer.token_text(id));
    let ints = |of: &dyn Fn(&Measured) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(measured.iter().map(of)))
    };
    let doubles = |of: &dyn Fn(&Measured) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(measured.iter().map(of)))
    };
    let by_layer = |of: &dyn Fn(&Measured) -> &Vec<f32>| -> ArrayRef {
        let lists =
            measured.iter().map(|row| Some(of(row).iter().map(|norm| Some(*norm)).collect::<Vec<_>>()));
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists))
    };
    arrays.push(ints(&|row| count(row.tokens)));
    arrays.push(Arc::new(Float32Array::from_iter_values(measured.iter().map(|row| row.loss))));
    arrays.push(ints(&|row| count(row.answer.0.0 as usize)));
    arrays.push(Arc::new(measured.iter().map(|row| text(row.answer.0)).collect::<StringArray>()));
    arrays.push(doubles(&|row| row.answer.1));
    arrays.push(ints(&|row| count(row.target.0 as usize)));
    arrays.push(ints(&|row| count(row.target_rank)));
    arrays.push(doubles(&|row| row.target_probability));
    arrays.push(by_head(measured, |row| &row.pattern_norm));
    arrays.push(by_head(measured, |row| &row.reversed_norm));
    arrays.push(by_layer(&|row| &row.attn_delta_norm));
    arrays.push(by_layer(&|row| &row.mlp_delta_norm));
    for at in 0..columns.lens.0.len() {
        let ranks = |of: fn(&LensReading) -> usize| -> ArrayRef {
            let lists = measured.iter().map(|row| {
                Some(row.lens[at].iter().map(|reading| Some(count(of(reading)))).collect::<Vec<_>>())
            });
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))
        };
        let tokens = |of: fn(&LensReading) -> TokenId| -> ArrayRef {
            let mut lists = ListBuilder::new(arrow_array::builder::StringBuilder::new());
            for row in measured {
                row.lens[at].iter().for_each(|reading| lists.values().append_option(text(of(reading))));
                lists.append(true);
            }
            Arc::new(lists.finish())
        };
        arrays.push(ranks(|reading| reading.target_rank));
        arrays.push(ranks(|reading| reading.answer_rank));
        arrays.push(tokens(|reading| reading.top));
        arrays.push(tokens(|reading| reading.bottom));
    }
    RecordBatch::try_new(schema, arrays)
}

fn by_head(measured: &[Measured], of: impl Fn(&Measured) -> &Vec<Vec<f32>>) -> ArrayRef {
    let mut lists = ListBuilder::new(ListBuilder::new(Float32Builder::new()));
    for row in measured {
        for layer in of(row) {
            lists.values().values().append_slice(layer);
            lists.values().append(true);
        }
        lists.append(true);
    }
    Arc::new(lists.finish())
}
