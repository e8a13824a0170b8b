//! Tables through the model, from Python's Arrow and back.

use crate::device::detached;
use crate::errors::Failure;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use retrograd_sweep::{Columns, LensColumns, Measurer, from_ipc, to_ipc};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

pub(crate) fn columns(
    id: String,
    prompt: String,
    target: String,
    next_token: bool,
    first_token: bool,
    prefix: String,
    lens: Option<String>,
) -> Result<Columns, Failure> {
    let lens = lens.as_deref().map(LensColumns::parse).transpose()?.unwrap_or_default();
    Ok(Columns { id, prompt, target, next_token, first_token, prefix, lens })
}

/// Names of the columns that a sweep writes.
#[pyfunction]
#[pyo3(signature = (prefix="", lens=None))]
pub(crate) fn written_columns(prefix: &str, lens: Option<&str>) -> PyResult<Vec<String>> {
    let lens = lens.map(LensColumns::parse).transpose().map_err(Failure::from)?.unwrap_or_default();
    Ok(Columns { prefix: prefix.to_owned(), lens, ..Columns::default() }.written_names())
}

/// A table as Arrow's stream; rows that are not in it, with the reason.
pub(crate) type Swept<'py> = (Bound<'py, PyBytes>, Vec<(u64, String)>);

/// The rows that could be traced, with measurements; and the numbers of the others, with the reason.
pub(crate) fn measure<'py>(
    py: Python<'py>,
    model: retrograd::Gpt2,
    columns: Columns,
    table: Vec<u8>,
) -> PyResult<Swept<'py>> {
    let (bytes, rejected) = detached(py, move || {
        let (batch, stop) = (from_ipc(&table)?, AtomicBool::new(false));
        let measured =
            Measurer::new(model, columns).measure(&batch, 0, &BTreeMap::new(), &stop, &mut |_| ())?;
        let (batch, rejected) =
            measured.ok_or_else(|| Failure::request("sweep", "was stopped before its end"))?;
        Ok((to_ipc(&batch)?, rejected))
    })?;
    let rejected = rejected.into_iter().map(|row| (row.row, row.reason)).collect();
    Ok((PyBytes::new(py, &bytes), rejected))
}
