//! A loaded model.

use crate::device::{Owned, detached, may_open};
use crate::edit::{Edit, EditArguments};
use crate::errors::Failure;
use crate::report::to_python;
use crate::request::{TraceArguments, tokens};
use crate::sweep;
use crate::trace::Trace;
use pyo3::exceptions::PyUserWarning;
use pyo3::prelude::*;
use retrograd::{GenerateOptions, GpuOptions, Precision, SamplingOptions, TokenId};
use std::ffi::CString;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Says what the caller allowed and may not expect.
fn warn(py: Python<'_>, text: &str) -> PyResult<()> {
    let text = CString::new(text)?;
    PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 1)
}

/// A GPT-2 on a device.
#[pyclass(frozen, module = "retrograd")]
pub(crate) struct Gpt2 {
    model: Owned<retrograd::Gpt2>,
    /// Whether traces may keep fewer layers than were asked for, where more do not fit.
    fit: bool,
}

#[pymethods]
impl Gpt2 {
    /// Loads a Hugging Face GPT-2 directory onto a device.
    #[staticmethod]
    #[pyo3(signature = (path, *, precision="f32", adapter=None, memory_limit=None, fit=false, default_limits=false))]
    fn load(
        py: Python<'_>,
        path: PathBuf,
        precision: &str,
        adapter: Option<String>,
        memory_limit: Option<u64>,
        fit: bool,
        default_limits: bool,
    ) -> PyResult<Gpt2> {
        let precision: Precision =
            precision.parse().map_err(|error: String| Failure::request("precision", error))?;
        // What is wrong with the directory is said before a device is opened.
        retrograd::Config::from_dir(&path).map_err(Failure::from)?;
        may_open()?;
        let options = GpuOptions {
            adapter,
            webgpu_defaults: default_limits,
            memory_limit,
            tuned: retrograd_bench::cache::tuned(),
            ..GpuOptions::default()
        };
        let model = detached(py, move || {
            let gpu = retrograd::Gpu::open(&options)?;
            Ok(match fit && precision == Precision::F32 {
                true => retrograd::Gpt2::load_fitting(&gpu, &path)?,
                false => retrograd::Gpt2::load(&gpu, &path, precision)?,
            })
        })?;
        if model.precision() != precision {
            warn(py, "fit=True: the weight matrices are f16 on the device: in f32 they do not fit")?;
        }
        Ok(Gpt2 { model: Owned::new(model), fit })
    }

    /// Runs one forward and one backward pass.
    #[pyo3(signature = (prompt, *, target=None, minus=None, completion=None, next_token=false, layers=None, sites=None,
        head_norms=false, ablate=None, patch=None, alpha=None, patch_map="reversed", patch_heads=None))]
    #[expect(clippy::too_many_arguments, reason = "Python names them")]
    fn trace(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        target: Option<&Bound<'_, PyAny>>,
        minus: Option<&Bound<'_, PyAny>>,
        completion: Option<&Bound<'_, PyAny>>,
        next_token: bool,
        layers: Option<&Bound<'_, PyAny>>,
        sites: Option<&Bound<'_, PyAny>>,
        head_norms: bool,
        ablate: Option<&Bound<'_, PyAny>>,
        patch: Option<&Bound<'_, PyAny>>,
        alpha: Option<f32>,
        patch_map: &str,
        patch_heads: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Trace> {
        let model = self.model.get()?.clone();
        let arguments = TraceArguments {
            prompt,
            target,
            minus,
            completion,
            next_token,
            layers,
            sites,
            head_norms,
            ablate,
            patch,
            alpha,
            patch_map,
            patch_heads,
        };
        let (request, text) = arguments.request(&model)?;
        let changes = request.interventions.clone();
        let traced = model.clone();
        let fit = self.fit;
        let (trace, kept) = detached(py, move || {
            let (request, kept) = if fit { model.fit(&request)? } else { (request, None) };
            let trace = model.trace(&request)?;
            // Submitted is not done: who waits can be interrupted.
            model.gpu().wait()?;
            let trace = match text {
                Some(text) => trace.with_prompt(text),
                None => trace,
            };
            Ok((trace, kept))
        })?;
        if let Some(layers) = kept {
            let layers: Vec<usize> = layers.iter().map(|layer| layer.0).collect();
            warn(
                py,
                &format!(
                    "fit=True: the layers that are kept are {layers:?}: with more of them the pass does not fit"
                ),
            )?;
        }
        Ok(Trace::new(trace, traced, changes))
    }

    /// Edits a fact into the model, for as long as the result is open.
    #[pyo3(signature = (prompt, target, *, method="shift", layers=None, eta=None, params=None, biases=false, steps=1,
        stop_on_success=false, force=false))]
    #[expect(clippy::too_many_arguments, reason = "Python names them")]
    fn edit(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        target: &Bound<'_, PyAny>,
        method: &str,
        layers: Option<&Bound<'_, PyAny>>,
        eta: Option<f32>,
        params: Option<Vec<String>>,
        biases: bool,
        steps: usize,
        stop_on_success: bool,
        force: bool,
    ) -> PyResult<Edit> {
        let model = self.model.get()?.clone();
        let arguments = EditArguments {
            prompt,
            target,
            method,
            layers,
            eta,
            params,
            biases,
            steps,
            stop_on_success,
            force,
        };
        let (fact, plan) = arguments.plan(&model)?;
        Edit::begin(py, model, fact, plan)
    }

    /// Continues a prompt.
    #[pyo3(signature = (prompt, *, max_new_tokens=20, temperature=0.0, top_k=None, top_p=None, seed=0))]
    #[expect(clippy::too_many_arguments, reason = "Python names them")]
    fn generate(
        &self,
        py: Python<'_>,
        prompt: &Bound<'_, PyAny>,
        max_new_tokens: usize,
        temperature: f32,
        top_k: Option<usize>,
        top_p: Option<f32>,
        seed: u64,
    ) -> PyResult<String> {
        let model = self.model.get()?.clone();
        let tokenizer = model.require_tokenizer().map_err(Failure::from)?.clone();
        let ids = tokens(&model, prompt)?;
        let sampling = SamplingOptions { temperature, top_k, top_p, seed };
        let options =
            GenerateOptions { max_new_tokens, sampling, stop: tokenizer.eos(), ..GenerateOptions::default() };
        let generation =
            detached(py, move || Ok(model.generate(&ids, &options, |_| ControlFlow::Continue(()))?))?;
        Ok(tokenizer.decode(&generation.ids))
    }

    /// Token ids of a text.
    fn encode(&self, text: &str) -> PyResult<Vec<u32>> {
        let model = self.model.get()?;
        let ids =
            model.require_tokenizer().and_then(|tokenizer| tokenizer.encode(text)).map_err(Failure::from)?;
        Ok(ids.iter().map(|id| id.0).collect())
    }

    /// Text of token ids.
    fn decode(&self, ids: Vec<u32>) -> PyResult<String> {
        let model = self.model.get()?;
        let tokenizer = model.require_tokenizer().map_err(Failure::from)?;
        Ok(tokenizer.decode(&ids.into_iter().map(TokenId).collect::<Vec<_>>()))
    }

    /// Its `config.json`.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, "Report", &self.model.get()?.config().to_hf_json())
    }

    /// The directory it was loaded from.
    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(self.model.get()?.name().to_owned())
    }

    /// The device it lies on.
    #[getter]
    fn adapter(&self) -> PyResult<String> {
        Ok(self.model.get()?.gpu().adapter().to_string())
    }

    /// A table as Arrow's stream in, one with measurements out; see `retrograd._sweep`.
    #[pyo3(signature = (table, *, id, prompt, target, next_token, first_token, prefix, lens))]
    #[expect(clippy::too_many_arguments, reason = "Python names them")]
    fn _sweep<'py>(
        &self,
        py: Python<'py>,
        table: &[u8],
        id: String,
        prompt: String,
        target: String,
        next_token: bool,
        first_token: bool,
        prefix: String,
        lens: Option<String>,
    ) -> PyResult<sweep::Swept<'py>> {
        let model = self.model.get()?.clone();
        let columns = sweep::columns(id, prompt, target, next_token, first_token, prefix, lens)?;
        sweep::measure(py, model, columns, table.to_vec())
    }

    fn __repr__(&self) -> PyResult<String> {
        let model = self.model.get()?;
        let config = model.config();
        Ok(format!(
            "Gpt2({}: {} layers of {} heads, width {}, vocabulary {}, on {})",
            model.name(),
            config.n_layer,
            config.n_head,
            config.n_embd,
            config.vocab_size,
            model.gpu().adapter()
        ))
    }
}
