//! The extension module of the wheel `retrograd`: the facade's calls under Python's names, and nothing of its own.
//!
//! Arrays of a trace are read when they are touched and belong to NumPy from then on: one copy, the device's. While the
//! device works, the interpreter is free, and Ctrl-C ends the wait. A device does not survive a fork of the process: what
//! was loaded before one says so behind it.

mod arrays;
mod device;
mod edit;
mod errors;
mod gradient;
mod model;
mod page;
mod report;
mod request;
mod sweep;
mod trace;

use pyo3::prelude::*;

/// Native part of the package `retrograd`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<model::Gpt2>()?;
    module.add_class::<trace::Trace>()?;
    module.add_class::<gradient::Gradient>()?;
    module.add_class::<edit::Edit>()?;
    module.add_function(wrap_pyfunction!(trace::open_trace, module)?)?;
    module.add_function(wrap_pyfunction!(sweep::written_columns, module)?)
}
