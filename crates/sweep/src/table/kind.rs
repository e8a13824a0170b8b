//! The type of a column, from what is written in it.

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, new_null_array};
use arrow_schema::{DataType, Field};
use serde_json::Value;
use std::sync::Arc;

/// What a column holds; the smallest kind that takes all of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing yet.
    Null,
    Bool,
    Int,
    Float,
    /// Lists of whole numbers: token ids.
    Ints,
    /// Text; what is no text stands in it as JSON.
    Text,
}

impl Kind {
    pub(super) fn of(value: &Value) -> Kind {
        match value {
            Value::Null => Kind::Null,
            Value::Bool(_) => Kind::Bool,
            Value::Number(number) if number.is_i64() => Kind::Int,
            Value::Number(_) => Kind::Float,
            Value::Array(items) if items.iter().all(Value::is_i64) => Kind::Ints,
            _ => Kind::Text,
        }
    }

    /// The kind of a cell of a CSV file. A number with leading zeros is a name.
    pub(super) fn of_cell(cell: &str) -> Kind {
        let digits = cell.strip_prefix('-').unwrap_or(cell).as_bytes();
        let named = digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit();
        if cell.is_empty() {
            Kind::Null
        } else if named || !digits.first().is_some_and(u8::is_ascii_digit) {
            Kind::Text
        } else if cell.parse::<i64>().is_ok() {
            Kind::Int
        } else if cell.parse::<f64>().is_ok_and(f64::is_finite) {
            Kind::Float
        } else {
            Kind::Text
        }
    }

    pub(super) fn and(self, other: Kind) -> Kind {
        match (self, other) {
            (Kind::Null, kind) | (kind, Kind::Null) => kind,
            (a, b) if a == b => a,
            (Kind::Int, Kind::Float) | (Kind::Float, Kind::Int) => Kind::Float,
            _ => Kind::Text,
        }
    }

    pub(super) fn data_type(self) -> DataType {
        match self {
            // A column without values is carried along as text.
            Kind::Null | Kind::Text => DataType::Utf8,
            Kind::Bool => DataType::Boolean,
            Kind::Int => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Ints => DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))),
        }
    }
}

/// An array of a column's type; `None` is a missing value.
pub(super) fn array<'v>(
    of: &DataType,
    rows: usize,
    values: impl Iterator<Item = Option<&'v Value>>,
) -> ArrayRef {
    match of {
        DataType::Boolean => {
            let mut array = BooleanBuilder::new();
            values.for_each(|value| array.append_option(value.and_then(Value::as_bool)));
            Arc::new(array.finish())
        }
        DataType::Int64 => {
            let mut array = Int64Builder::new();
            values.for_each(|value| array.append_option(value.and_then(Value::as_i64)));
            Arc::new(array.finish())
        }
        DataType::Float64 => {
            let mut array = Float64Builder::new();
            values.for_each(|value| array.append_option(value.and_then(Value::as_f64)));
            Arc::new(array.finish())
        }
        DataType::List(_) => {
            let mut array = ListBuilder::new(Int64Builder::new());
            for value in values {
                let items = value.and_then(Value::as_array);
                items.into_iter().flatten().for_each(|item| array.values().append_option(item.as_i64()));
                array.append(items.is_some());
            }
            Arc::new(array.finish())
        }
        DataType::Utf8 => {
            let mut array = StringBuilder::new();
            for value in values {
                match value {
                    None | Some(Value::Null) => array.append_null(),
                    Some(Value::String(text)) => array.append_value(text),
                    Some(other) => array.append_value(other.to_string()),
                }
            }
            Arc::new(array.finish())
        }
        other => new_null_array(other, rows),
    }
}
