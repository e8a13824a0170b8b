//! Errors as Python's exceptions, with the text that the command prints.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use retrograd::formats::trace_file::TraceFileError;
use retrograd::{FormatError, GpuError, ModelError, RequestError};
use retrograd_sweep::SweepError;

/// What went wrong, for whoever catches it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// What was asked for does not fit: `RequestError`, a `ValueError`.
    Request,
    /// A file or directory: `FormatError`, an `OSError`.
    Format,
    /// The device: `DeviceError`, a `RuntimeError`.
    Device,
}

/// An error on its way to Python.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
}

impl Failure {
    /// `what` is wrong because of `reason`.
    pub(crate) fn request(what: &str, reason: impl Into<String>) -> Self {
        RequestError::invalid(what, reason).into()
    }

    pub(crate) fn device(message: impl Into<String>) -> Self {
        Failure { kind: Kind::Device, message: message.into() }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Failure { kind: Kind::Request, message: error.to_string() }
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Request(error) => error.into(),
            error => Failure { kind: Kind::Format, message: error.to_string() },
        }
    }
}

impl From<GpuError> for Failure {
    fn from(error: GpuError) -> Self {
        Failure::device(error.to_string())
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Format(error) => error.into(),
            ModelError::Request(error) => error.into(),
            ModelError::Gpu(error) => error.into(),
            error => Failure::device(error.to_string()),
        }
    }
}

impl From<TraceFileError> for Failure {
    fn from(error: TraceFileError) -> Self {
        match error {
            TraceFileError::Format(error) => error.into(),
            TraceFileError::Request(error) => error.into(),
            error => Failure::device(error.to_string()),
        }
    }
}

impl From<SweepError> for Failure {
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::Format(error) => error.into(),
            SweepError::Request(error) => error.into(),
            SweepError::Model(error) => error.into(),
            error => Failure::request("table", error.to_string()),
        }
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> PyErr {
        let name = match failure.kind {
            Kind::Request => "RequestError",
            Kind::Format => "FormatError",
            Kind::Device => "DeviceError",
        };
        // The classes are Python's, since each has two bases.
        Python::attach(|py| {
            let raised = py
                .import("retrograd._errors")
                .and_then(|module| module.getattr(name))
                .and_then(|class| class.call1((failure.message.as_str(),)));
            match raised {
                Ok(error) => PyErr::from_value(error),
                Err(_) => PyRuntimeError::new_err(failure.message),
            }
        })
    }
}
