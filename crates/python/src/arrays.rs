//! Tensors as NumPy arrays and back.

use crate::errors::Failure;
use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;
use retrograd::HostTensor;
use retrograd::formats::TensorData;

/// The tensor's memory becomes the array's: nothing is copied. The array is read-only, since whoever asks for the same
/// tensor again gets it again.
pub(crate) fn to_numpy(py: Python<'_>, tensor: HostTensor) -> PyResult<Bound<'_, PyAny>> {
    match tensor.data {
        TensorData::F32(values) => array(py, tensor.shape, values),
        TensorData::U32(values) => array(py, tensor.shape, values),
    }
}

/// A read-only array of this shape.
pub(crate) fn array<T: Element>(
    py: Python<'_>,
    shape: Vec<usize>,
    values: Vec<T>,
) -> PyResult<Bound<'_, PyAny>> {
    let array = PyArray1::from_vec(py, values).reshape(shape)?.into_any();
    array.getattr("flags")?.setattr("writeable", false)?;
    Ok(array)
}

/// The values of an f32 array of the given shape; `what` names it in errors.
pub(crate) fn f32_values(what: &str, given: &Bound<'_, PyAny>, shape: &[usize]) -> PyResult<Vec<f32>> {
    let dtype = match given.getattr("dtype") {
        Ok(dtype) => dtype.str()?.to_string(),
        Err(_) => {
            let found = given.get_type().name()?.to_string();
            return Err(Failure::request(what, format!("is no NumPy array but {found}")).into());
        }
    };
    if dtype != "float32" {
        let reason = format!("has dtype {dtype}: give float32 (array.astype(\"float32\"))");
        return Err(Failure::request(what, reason).into());
    }
    let array: PyReadonlyArrayDyn<'_, f32> = given.extract()?;
    if array.shape() != shape {
        let reason = format!("has shape {:?}; the model and the prompt need {shape:?}", array.shape());
        return Err(Failure::request(what, reason).into());
    }
    Ok(array.as_array().iter().copied().collect())
}
