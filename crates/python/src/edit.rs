//! Facts written into the model, for as long as somebody holds them there.

use crate::device::{Owned, detached};
use crate::errors::Failure;
use crate::report::to_python;
use crate::request::{blocks, tokens};
use pyo3::prelude::*;
use pyo3::types::PyString;
use retrograd::formats::{TensorEdit, write_edited_model};
use retrograd::lens::edit::{
    DEFAULT_ETAS, EditPlan, EditReport, Fact, Method, apply, choose, edit_entry, parse_params, sweep,
    target_tokens,
};
use retrograd::{Gpt2, WeightEdit};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What was edited, kept beside the edited weights.
const RECORD: &str = "retrograd-edit.json";

/// What `Gpt2.edit` is given.
pub(crate) struct EditArguments<'a, 'py> {
    pub(crate) prompt: &'a Bound<'py, PyAny>,
    pub(crate) target: &'a Bound<'py, PyAny>,
    pub(crate) method: &'a str,
    pub(crate) layers: Option<&'a Bound<'py, PyAny>>,
    pub(crate) eta: Option<f32>,
    pub(crate) params: Option<Vec<String>>,
    pub(crate) biases: bool,
    pub(crate) steps: usize,
    pub(crate) stop_on_success: bool,
    pub(crate) force: bool,
}

impl EditArguments<'_, '_> {
    /// The fact, and the plans among which the best is chosen.
    pub(crate) fn plan(&self, model: &Gpt2) -> PyResult<(Fact, Vec<EditPlan>)> {
        let target = match self.target.cast::<PyString>() {
            Ok(text) => {
                let tokenizer = model.require_tokenizer().map_err(Failure::from)?;
                target_tokens(tokenizer, &text.to_cow()?).map_err(Failure::from)?
            }
            Err(_) => tokens(model, self.target)?,
        };
        let fact = Fact { prompt: tokens(model, self.prompt)?, target };
        Ok((fact, self.plans(model)?))
    }

    fn plans(&self, model: &Gpt2) -> PyResult<Vec<EditPlan>> {
        let config = model.config();
        let blocks = blocks(self.layers, config)?;
        let methods: Vec<Method> = match self.method {
            "shift" if self.params.is_some() || self.biases => {
                let reason = "are for method='sgd': a shift changes the mlp.c_proj of one layer";
                return Err(Failure::request("params and biases", reason).into());
            }
            "shift" => blocks.iter().map(|block| Method::Shift { layer: *block }).collect(),
            "sgd" => {
                let names = self.params.clone().unwrap_or_else(|| vec!["mlp".to_owned()]);
                let layers = parse_params(&names, config, Some(&blocks)).map_err(Failure::from)?;
                vec![Method::Sgd { layers, biases: self.biases }]
            }
            other => {
                return Err(
                    Failure::request("method", format!("'{other}' is neither 'shift' nor 'sgd'")).into()
                );
            }
        };
        let etas = self.eta.map_or(DEFAULT_ETAS.to_vec(), |eta| vec![eta]);
        let plan = |method: &Method, eta: f32| EditPlan {
            method: method.clone(),
            eta,
            steps: self.steps,
            stop_on_success: self.stop_on_success,
            force: self.force,
        };
        let plans: Vec<EditPlan> =
            methods.iter().flat_map(|method| etas.iter().map(move |eta| plan(method, *eta))).collect();
        for plan in &plans {
            plan.check(config).map_err(Failure::from)?;
        }
        Ok(plans)
    }
}

/// An edit that acts on the model until it is closed.
#[pyclass(frozen, module = "retrograd")]
pub(crate) struct Edit {
    /// `None` once it is closed.
    open: Arc<Mutex<Option<Owned<WeightEdit>>>>,
    source: PathBuf,
    report: Py<PyAny>,
    record: Vec<u8>,
}

impl Edit {
    pub(crate) fn begin(py: Python<'_>, model: Gpt2, fact: Fact, plans: Vec<EditPlan>) -> PyResult<Edit> {
        let source = PathBuf::from(model.name());
        let (edit, report) = detached(py, move || {
            let mut edit = model.edit()?;
            let facts = std::slice::from_ref(&fact);
            let mut plans = plans;
            let best = match plans.len() {
                0 | 1 => 0,
                _ => {
                    let rows = sweep(&mut edit, facts, &plans, |_| ControlFlow::Continue(()))?;
                    choose(&rows).unwrap_or(0)
                }
            };
            if plans.is_empty() {
                return Err(Failure::request("layers", "name none"));
            }
            let plan = plans.swap_remove(best);
            let outcome = apply(&mut edit, &fact, &plan)?;
            if outcome.steps == 0 {
                let target =
                    model.tokenizer().map(|tokenizer| tokenizer.decode(&fact.target)).unwrap_or_default();
                let reason = "is the answer already: nothing was edited; force=True edits all the same";
                return Err(Failure::request(&format!("'{target}'"), reason));
            }
            let entry = edit_entry(&fact, &plan, outcome, &edit.changes()?, model.tokenizer());
            let name = model.name().to_owned();
            let report = EditReport { schema: "retrograd-edit/1", model: name, edit: entry, out: None };
            Ok((Owned::new(edit), report))
        })?;
        let mut record =
            serde_json::to_vec_pretty(&report).map_err(|error| Failure::device(error.to_string()))?;
        record.push(b'\n');
        let report = to_python(py, "Report", &report)?.unbind();
        Ok(Edit { open: Arc::new(Mutex::new(Some(edit))), source, report, record })
    }

    /// Does something with the open edit.
    fn with<T: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(Option<Owned<WeightEdit>>) -> (Option<Owned<WeightEdit>>, Result<T, Failure>)
        + Send
        + 'static,
    ) -> PyResult<T> {
        let open = self.open.clone();
        detached(py, move || {
            let mut open = open.lock().unwrap_or_else(|error| error.into_inner());
            let (still_open, result) = work(open.take());
            *open = still_open;
            result
        })
    }
}

fn closed() -> Failure {
    Failure::request("edit", "is closed: the model has its own weights again, or keeps the edited ones")
}

#[pymethods]
impl Edit {
    /// What `retrograd edit --json` prints: method, layers, eta, before, after, delta_norms.
    #[getter]
    fn report<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.report.bind(py).clone()
    }

    /// The model's answer before the edit.
    #[getter]
    fn before<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.report.bind(py).get_item("before")
    }

    /// The model's answer after it.
    #[getter]
    fn after<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.report.bind(py).get_item("after")
    }

    /// Writes the edited model to a new directory.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let (source, record) = (self.source.clone(), self.record.clone());
        self.with(py, move |open| {
            let result = match &open {
                Some(edit) => edit.get().and_then(|edit| write(edit, &source, &path, &record)),
                None => Err(closed()),
            };
            (open, result)
        })
    }

    /// Ends it and leaves the weights as they are now, for as long as the model is loaded.
    fn keep(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |open| match open.map(Owned::into_inner) {
            Some(Ok(edit)) => {
                edit.keep();
                (None, Ok(()))
            }
            Some(Err(failure)) => (None, Err(failure)),
            None => (None, Err(closed())),
        })
    }

    /// Ends it: the model has its weights again, bit for bit.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |open| {
            let result = match open.map(Owned::into_inner) {
                Some(Ok(mut edit)) => edit.restore().map_err(Failure::from),
                Some(Err(failure)) => Err(failure),
                None => Ok(()),
            };
            (None, result)
        })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let report = self.report.bind(py);
        let text = |name: &str| -> PyResult<String> { Ok(report.get_item(name)?.str()?.to_string()) };
        Ok(format!("Edit({} of layers {}, eta {})", text("method")?, text("layers")?, text("eta")?))
    }
}

fn write(edit: &WeightEdit, source: &Path, out: &Path, record: &[u8]) -> Result<(), Failure> {
    let changed = edit.changed_weights()?;
    let tensors: Vec<TensorEdit<'_>> = changed
        .iter()
        .map(|weight| TensorEdit { name: &weight.name, before: &weight.before, after: &weight.after })
        .collect();
    write_edited_model(source, out, &tensors, &[(RECORD, record)])?;
    Ok(())
}
