//! The gradient of a weight, by its factors.

use crate::arrays::{array, to_numpy};
use crate::device::detached;
use crate::errors::Failure;
use crate::trace::Trace;
use numpy::{PyArrayDyn, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use retrograd::lens::GradientFactors;
use retrograd::{HostTensor, LinearLayer};
use std::sync::Arc;

/// The gradient of one linear layer's weight, xᵀδ, as its two thin factors.
#[pyclass(frozen, module = "retrograd")]
pub(crate) struct Gradient {
    trace: Py<Trace>,
    layer: LinearLayer,
    /// `(in, out)`
    shape: (usize, usize),
    /// For what is computed from both; the arrays themselves are the trace's.
    factors: PyOnceLock<Arc<GradientFactors>>,
}

impl Gradient {
    pub(crate) fn new(trace: Py<Trace>, layer: LinearLayer, shape: (usize, usize)) -> Self {
        Gradient { trace, layer, shape, factors: PyOnceLock::new() }
    }

    fn factors(&self, py: Python<'_>) -> PyResult<Arc<GradientFactors>> {
        let made = self.factors.get_or_try_init(py, || {
            let host = |array: Bound<'_, PyAny>| -> PyResult<HostTensor> {
                let array = array.cast_into::<PyArrayDyn<f32>>().map_err(PyErr::from)?.try_readonly();
                let array =
                    array.map_err(|error| PyErr::from(Failure::request("gradient", error.to_string())))?;
                let array = array.as_array();
                Ok(HostTensor::f32(array.shape().to_vec(), array.iter().copied().collect()))
            };
            let (x, delta) = (host(self.x(py)?)?, host(self.delta(py)?)?);
            Ok::<_, PyErr>(Arc::new(GradientFactors { layer: self.layer, x, delta }))
        })?;
        Ok(made.clone())
    }
}

#[pymethods]
impl Gradient {
    /// Name of the layer.
    #[getter]
    fn name(&self) -> String {
        self.layer.to_string()
    }

    /// The layer's input, `[T, in]`.
    #[getter]
    fn x<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.trace.get().array(py, self.layer.factors().0)
    }

    /// The backward signal at its output, `[T, out]`.
    #[getter]
    fn delta<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.trace.get().array(py, self.layer.factors().1)
    }

    /// `(in, out)`.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// ‖xᵀδ‖, Frobenius, without forming it.
    #[getter]
    fn norm(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.factors(py)?.norm())
    }

    /// What its rank is at most.
    #[getter]
    fn rank_bound(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.factors(py)?.rank_bound())
    }

    /// The gradient itself, `[in, out]`, accumulated in f64.
    fn dense<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let factors = self.factors(py)?;
        let dense = detached(py, move || Ok(factors.to_dense()))?;
        to_numpy(py, dense)
    }

    /// `(u, s, vt)` with the gradient equal to `u @ diag(s) @ vt`: `[in, r]`, `[r]`, `[r, out]`, float64, from the
    /// factors; singular values of 0 are left out.
    fn svd<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let factors = self.factors(py)?;
        let svd = detached(py, move || Ok(factors.svd()))?;
        let (inputs, outputs) = self.shape;
        // There is a pair of vectors for each value that is not 0.
        let rank = svd.left().len().min(svd.right().len()).min(svd.values.len());
        let mut u = vec![0.0f64; inputs * rank];
        for (column, left) in svd.left()[..rank].iter().enumerate() {
            left.iter().enumerate().for_each(|(row, value)| u[row * rank + column] = *value);
        }
        let vt: Vec<f64> = svd.right()[..rank].iter().flatten().copied().collect();
        let values = svd.values[..rank].to_vec();
        Ok((
            array(py, vec![inputs, rank], u)?,
            array(py, vec![rank], values)?,
            array(py, vec![rank, outputs], vt)?,
        ))
    }

    /// ‖x_t‖·‖δ_t‖ of every position, `[T]`, float64.
    fn contributions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let contributions = self.factors(py)?.contributions();
        array(py, vec![contributions.len()], contributions)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let ((inputs, outputs), factors) = (self.shape, self.factors(py)?);
        Ok(format!(
            "Gradient({}: [{inputs}, {outputs}], norm {:.4e}, rank at most {})",
            self.layer,
            factors.norm(),
            factors.rank_bound()
        ))
    }
}
