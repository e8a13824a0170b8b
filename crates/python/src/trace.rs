//! A finished trace.

use crate::arrays::to_numpy;
use crate::device::{Owned, detached};
use crate::errors::Failure;
use crate::gradient::Gradient;
use crate::page;
use crate::report::to_python;
use crate::request::{blocks, joined, layer_list};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use retrograd::formats::trace_file::{self, TraceFile};
use retrograd::lens::{
    Ablation, AttentionReport, FlowOptions, LensOptions, MediationReport, TokenText, attention_report, flow,
    lens, lens_sites, mediate, summarize, token_texts,
};
use retrograd::{Gpt2, Interventions, LinearLayer, Objective, Site, TokenId, Tokenizer, TraceRead};
use retrograd_figures::{LensPanels, lens_figure};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// Where a trace lies: on the device, or in a file.
pub(crate) type Held = Arc<dyn TraceRead + Send + Sync>;

/// One forward and one backward pass. Tensors are read when they are touched.
#[pyclass(frozen, mapping, module = "retrograd")]
pub(crate) struct Trace {
    held: Owned<Held>,
    /// The model that made it; none for a file.
    model: Option<Owned<Gpt2>>,
    /// What was changed in the forward pass.
    changes: Interventions,
    arrays: Mutex<HashMap<Site, Py<PyAny>>>,
}

impl Trace {
    /// A trace of a model, and what was changed in its forward pass.
    pub(crate) fn new(trace: retrograd::Trace, model: Gpt2, changes: Interventions) -> Self {
        let (held, model) = (Owned::new(Arc::new(trace) as Held), Some(Owned::new(model)));
        Trace { held, model, changes, arrays: Mutex::default() }
    }

    pub(crate) fn held(&self) -> Result<&Held, Failure> {
        self.held.get()
    }

    fn model(&self, what: &str) -> Result<Gpt2, Failure> {
        match &self.model {
            Some(model) => Ok(model.get()?.clone()),
            None => Err(Failure::request(
                what,
                "needs the model, and this trace was read from a file: trace again",
            )),
        }
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        self.model.as_ref().and_then(|model| model.get().ok()).and_then(Gpt2::tokenizer)
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<Site, Py<PyAny>>> {
        self.arrays.lock().unwrap_or_else(|error| error.into_inner())
    }

    /// A tensor, read from the device when it is first asked for.
    pub(crate) fn array<'py>(&self, py: Python<'py>, site: Site) -> PyResult<Bound<'py, PyAny>> {
        self.read_all(py, &[site])?;
        let array = self.cache().get(&site).map(|array| array.bind(py).clone());
        array.ok_or_else(|| Failure::request(&site.to_string(), "was not returned by the trace").into())
    }

    /// Reads those that are not here yet in one round trip.
    fn read_all(&self, py: Python<'_>, sites: &[Site]) -> PyResult<()> {
        let missing: Vec<Site> = {
            let cache = self.cache();
            sites.iter().copied().filter(|site| !cache.contains_key(site)).collect()
        };
        if missing.is_empty() {
            return Ok(());
        }
        let (held, wanted) = (self.held()?.clone(), missing.clone());
        let tensors = detached(py, move || Ok(held.read_all(&wanted)?))?;
        for (site, tensor) in missing.into_iter().zip(tensors) {
            let array = to_numpy(py, tensor)?.unbind();
            self.cache().entry(site).or_insert(array);
        }
        Ok(())
    }

    fn site(&self, name: &str) -> PyResult<Site> {
        let sites = self.held()?.sites();
        let site = name.parse::<Site>().map_err(|error| PyKeyError::new_err(error.to_string()))?;
        if !sites.contains(&site) {
            let layers = self.held()?.meta().config.n_layer;
            let reason = match site.layer() {
                Some(layer) if layer.0 >= layers => format!("the model has layers 0 to {}", layers - 1),
                _ => "was not captured: widen layers= or sites=".to_owned(),
            };
            return Err(PyKeyError::new_err(format!("{name}: {reason}")));
        }
        Ok(site)
    }
}

/// Opens a trace file: its tensors are read when they are touched.
#[pyfunction]
pub(crate) fn open_trace(path: PathBuf) -> PyResult<Trace> {
    let file = TraceFile::open(&path).map_err(Failure::from)?;
    let held = Owned::new(Arc::new(file) as Held);
    Ok(Trace { held, model: None, changes: Interventions::default(), arrays: Mutex::default() })
}

#[pymethods]
impl Trace {
    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let site = self.site(name)?;
        self.array(py, site)
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(name) = name.extract::<String>() else {
            return Ok(false);
        };
        Ok(self.site(&name).is_ok())
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.held()?.sites().len())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(self.keys()?.into_pyobject(py)?.try_iter()?.into_any())
    }

    /// Names of the tensors it holds, in the order of a trace file.
    fn keys(&self) -> PyResult<Vec<String>> {
        Ok(self.held()?.sites().iter().map(Site::to_string).collect())
    }

    /// Several tensors in one round trip, by their names.
    fn read<'py>(&self, py: Python<'py>, names: Vec<String>) -> PyResult<Bound<'py, PyDict>> {
        let sites = names.iter().map(|name| self.site(name)).collect::<PyResult<Vec<_>>>()?;
        self.read_all(py, &sites)?;
        let read = PyDict::new(py);
        for (name, site) in names.iter().zip(sites) {
            read.set_item(name, self.array(py, site)?)?;
        }
        Ok(read)
    }

    /// The loss.
    #[getter]
    fn loss(&self, py: Python<'_>) -> PyResult<f64> {
        let held = self.held()?.clone();
        Ok(f64::from(detached(py, move || Ok(held.loss()?))?))
    }

    /// The tokens' ids.
    #[getter]
    fn ids(&self) -> PyResult<Vec<u32>> {
        Ok(self.held()?.meta().ids.iter().map(|id| id.0).collect())
    }

    /// The tokens' texts; of a trace without a tokenizer, `#` and their ids.
    #[getter]
    fn tokens(&self) -> PyResult<Vec<String>> {
        let texts = token_texts(&self.held()?.meta().ids, self.tokenizer());
        Ok(texts.iter().map(|token| token.text.clone().unwrap_or_else(|| format!("#{}", token.id))).collect())
    }

    /// The prompt's text, where there was one.
    #[getter]
    fn prompt(&self) -> PyResult<Option<String>> {
        Ok(self.held()?.meta().prompt.clone())
    }

    /// What was differentiated: kind, positions, targets.
    #[getter]
    fn objective<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, "Report", &self.held()?.meta().objective.to_json())
    }

    /// Where it was computed.
    #[getter]
    fn adapter(&self) -> PyResult<String> {
        Ok(self.held()?.meta().adapter.clone())
    }

    /// What `retrograd trace --json` prints.
    #[pyo3(signature = (top=8))]
    fn summary<'py>(&self, py: Python<'py>, top: usize) -> PyResult<Bound<'py, PyAny>> {
        let (held, tokenizer) = (self.held()?.clone(), self.model_of_tokenizer());
        let report = detached(py, move || {
            let tokenizer = tokenizer.as_ref().and_then(Gpt2::tokenizer);
            Ok(summarize(&*held, tokenizer, top)?)
        })?;
        to_python(py, "Report", &report)
    }

    /// Every head by the size of its Reversed Attention: what `retrograd attention --json` prints.
    fn attention<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (held, tokenizer) = (self.held()?.clone(), self.model_of_tokenizer());
        let report: AttentionReport = detached(py, move || {
            let tokenizer = tokenizer.as_ref().and_then(Gpt2::tokenizer);
            Ok(attention_report(&*held, tokenizer)?)
        })?;
        to_python(py, "AttentionReport", &report)
    }

    /// Layers and positions read in the vocabulary: what `retrograd lens --json` prints.
    #[pyo3(signature = (sites=None, *, layers=None, top=5, normalize=false))]
    fn lens<'py>(
        &self,
        py: Python<'py>,
        sites: Option<&Bound<'py, PyAny>>,
        layers: Option<&Bound<'py, PyAny>>,
        top: usize,
        normalize: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (held, model) = (self.held()?.clone(), self.model("lens")?);
        let (glob, layers) = (sites.map(joined).transpose()?, layers.map(layer_list).transpose()?);
        let n_layer = held.meta().config.n_layer;
        let sites = lens_sites(glob.as_deref(), layers.as_deref(), n_layer).map_err(Failure::from)?;
        let (report, figure) = detached(py, move || {
            let options = LensOptions { sites, top, normalize };
            let report = lens(&*held, &model, &options, model.tokenizer())?;
            let panels = LensPanels { tables: true, ranks: false, norms: false };
            let figure = lens_figure(&report, model.config().vocab_size, panels).to_svg();
            Ok((report, figure))
        })?;
        let report = to_python(py, "LensReport", &report)?;
        report.setattr("_svg", figure)?;
        Ok(report)
    }

    /// What flows through a position, as a graph: what `retrograd flow --json` prints.
    #[pyo3(signature = (*, position=None, layers=None, top=10, normalize=false, gradient=true))]
    fn flow<'py>(
        &self,
        py: Python<'py>,
        position: Option<usize>,
        layers: Option<&Bound<'py, PyAny>>,
        top: usize,
        normalize: bool,
        gradient: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (held, model, interventions) = (self.held()?.clone(), self.model("flow")?, self.changes.clone());
        let layers = layers.map(|layers| blocks(Some(layers), &held.meta().config)).transpose()?;
        let options = FlowOptions {
            layers,
            position,
            top,
            normalize,
            gradient,
            interventions,
            ..FlowOptions::default()
        };
        let report = detached(py, move || Ok(flow(&*held, &model, &options, model.tokenizer())?))?;
        to_python(py, "Report", &report)
    }

    /// The page of `retrograd flow --html`: overview, heads, lens and flow graph, in one file.
    #[pyo3(signature = (view="overview", *, views=None))]
    fn page<'py>(
        &self,
        py: Python<'py>,
        view: &str,
        views: Option<Vec<String>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (held, model, changes) = (self.held()?.clone(), self.model("page")?, self.changes.clone());
        let view = view.to_owned();
        let html = detached(py, move || page::to_html(&*held, &model, &changes, &view, views.as_deref()))?;
        py.import("retrograd._report")?.getattr("Page")?.call1((html,))
    }

    /// The gradient of a linear layer's weight, as its factors.
    fn gradient(slf: &Bound<'_, Self>, name: &str) -> PyResult<Gradient> {
        let layer: LinearLayer = name.parse().map_err(Failure::from)?;
        let trace = slf.get();
        let (input, delta) = layer.factors();
        for site in [input, delta] {
            trace.site(&site.to_string()).map_err(|error| {
                let text = error.value(slf.py()).getattr("args").and_then(|args| args.get_item(0));
                let text = text.and_then(|text| text.extract::<String>()).unwrap_or_default();
                let (what, reason) = text.split_once(": ").unwrap_or((name, &text));
                Failure::request(what, reason)
            })?;
        }
        let meta = trace.held()?.meta();
        let width =
            |site: Site| site.shape(&meta.config, meta.ids.len(), meta.objective.count).get(1).copied();
        let shape = (width(input).unwrap_or(0), width(delta).unwrap_or(0));
        Ok(Gradient::new(slf.clone().unbind(), layer, shape))
    }

    /// What each head does to the target's probability: what `retrograd mediate --json` prints.
    fn mediate<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (model, meta) = (self.model("mediate")?, self.held()?.meta());
        if !self.changes.is_empty() {
            let reason = "silences heads of the model as it is: trace without ablate= and patch=";
            return Err(Failure::request("mediate", reason).into());
        }
        let Objective::Target(target) = meta.objective.objective else {
            let reason = "an effect is on the probability of one token: trace with target=";
            return Err(Failure::request("mediate", reason).into());
        };
        let (ids, name): (Vec<TokenId>, String) = (meta.ids.clone(), meta.model.clone());
        let report = detached(py, move || {
            let mediation = mediate(&model, &[(ids.clone(), target)], &mut |_| ())?;
            Ok(MediationReport {
                schema: "retrograd-mediate/1",
                model: name,
                tokens: token_texts(&ids, model.tokenizer()),
                target: Some(TokenText::new(target, model.tokenizer())),
                task: None,
                prompts: 1,
                mediation,
            })
        })?;
        debug_assert_eq!(report.mediation.ablation, Ablation::Zero);
        to_python(py, "MediationReport", &report)
    }

    /// Writes every tensor it holds to a file, as safetensors.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let held = self.held()?.clone();
        detached(py, move || Ok(trace_file::write(&path, &*held)?))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let meta = self.held()?.meta();
        let kind = meta.objective.to_json()["kind"].as_str().unwrap_or_default().to_owned();
        Ok(format!("Trace({} tokens, {kind}, loss {:.4})", meta.ids.len(), self.loss(py)?))
    }

    /// The page with its overview and its heads; without what it takes, the strongest heads as a table.
    fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
        slf.py().import("retrograd._report")?.getattr("trace_html")?.call1((slf,))?.extract()
    }
}

impl Trace {
    /// The model, for its tokenizer; tensors alone do without.
    fn model_of_tokenizer(&self) -> Option<Gpt2> {
        self.model.as_ref().and_then(|model| model.get().ok()).cloned()
    }
}
