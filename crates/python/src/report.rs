//! Documents of the command as Python's dictionaries.

use crate::errors::Failure;
use pyo3::prelude::*;
use serde::Serialize;

/// A document as an instance of a class of `retrograd._report`, which is a `dict` that shows itself in notebooks.
pub(crate) fn to_python<'py>(
    py: Python<'py>,
    class: &str,
    document: &impl Serialize,
) -> PyResult<Bound<'py, PyAny>> {
    let text = serde_json::to_string(document).map_err(|error| Failure::device(error.to_string()))?;
    let value = py.import("json")?.call_method1("loads", (text,))?;
    py.import("retrograd._report")?.getattr(class)?.call1((value,))
}
