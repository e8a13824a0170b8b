//! A request carried out: trace, interventions, edit, page.

use super::error::Refusal;
use super::request::Plan;
use crate::document::{Page, PageOptions, map_sites, page, page_capture};
use axum::http::StatusCode;
use retrograd::lens::edit::{EditPlan, Fact, apply};
use retrograd::lens::{FlowOptions, answer_token};
use retrograd::reference::ReferenceModel;
use retrograd::{
    AttentionPatch, BlockSite, Capture, Config, Gpt2, Interventions, Layer, ModelError, Objective,
    ParameterRead, PatchMap, RequestError, Site, TokenId, Tokenizer, TraceRead, TraceRequest,
};
use serde::Serialize;

/// The model that is served.
pub enum ServedModel {
    /// On a device.
    Device(Gpt2),
    /// The f64 oracle, with the tokenizer of its directory. It cannot be edited.
    Reference(Box<(ReferenceModel, Option<Tokenizer>)>),
}

/// What the page is told about the model before anything is run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ModelInfo {
    schema: &'static str,
    retrograd: &'static str,
    shape: Shape,
    tokenizer: bool,
    adapter: String,
    example: String,
    max_tokens: usize,
    max_prompt_bytes: usize,
}

#[derive(Clone, Debug, Serialize)]
struct Shape {
    name: String,
    n_layer: usize,
    n_head: usize,
    n_embd: usize,
    vocab_size: usize,
    n_positions: usize,
}

impl ModelInfo {
    pub(crate) fn new(
        name: String,
        adapter: String,
        config: &Config,
        tokenizer: bool,
        max_tokens: usize,
    ) -> Self {
        ModelInfo {
            schema: "retrograd-served-model/1",
            retrograd: env!("CARGO_PKG_VERSION"),
            shape: Shape {
                name,
                n_layer: config.n_layer,
                n_head: config.n_head,
                n_embd: config.n_embd,
                vocab_size: config.vocab_size,
                n_positions: config.n_positions,
            },
            tokenizer,
            adapter,
            example: if tokenizer { EXAMPLE.to_owned() } else { "#0".to_owned() },
            max_tokens: max_tokens.min(config.n_positions),
            max_prompt_bytes: super::http::MAX_BODY,
        }
    }
}

/// What is run where nothing was asked yet.
const EXAMPLE: &str = "The capital of France is";

impl ServedModel {
    /// Whether the device it lies on is gone.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, ServedModel::Device(model) if model.gpu().is_lost())
    }

    /// The same model on a device that is opened anew.
    pub(crate) fn reopen(&self) -> Result<ServedModel, ModelError> {
        match self {
            ServedModel::Device(model) => Ok(ServedModel::Device(model.reopen()?)),
            ServedModel::Reference(model) => Ok(ServedModel::Reference(model.clone())),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        match self {
            ServedModel::Device(model) => model.config(),
            ServedModel::Reference(model) => model.0.config(),
        }
    }

    pub(crate) fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            ServedModel::Device(model) => model.tokenizer(),
            ServedModel::Reference(model) => model.1.as_ref(),
        }
    }

    pub(crate) fn info(&self, max_tokens: usize) -> ModelInfo {
        let (path, adapter) = match self {
            ServedModel::Device(model) => (model.name().to_owned(), model.gpu().adapter().to_string()),
            ServedModel::Reference(model) => {
                (model.0.name().to_owned(), "reference [f64 on the CPU]".to_owned())
            }
        };
        let name = std::path::Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned());
        ModelInfo::new(name.unwrap_or(path), adapter, self.config(), self.tokenizer().is_some(), max_tokens)
    }

    fn reader(&self) -> &dyn ParameterRead {
        match self {
            ServedModel::Device(model) => model,
            ServedModel::Reference(model) => &model.0,
        }
    }

    fn trace(&self, request: &TraceRequest, prompt: Option<&str>) -> Result<Box<dyn TraceRead>, Refusal> {
        Ok(match self {
            ServedModel::Device(model) => {
                let trace = model.trace(request)?;
                Box::new(if let Some(prompt) = prompt { trace.with_prompt(prompt) } else { trace })
            }
            ServedModel::Reference(model) => {
                let trace = model.0.trace(request)?;
                Box::new(if let Some(prompt) = prompt { trace.with_prompt(prompt) } else { trace })
            }
        })
    }

    /// Carries out a request. `progress` is told what comes next, and says when to give up.
    pub(crate) fn run(
        &self,
        plan: &Plan,
        progress: &mut dyn FnMut(&str) -> Result<(), RequestError>,
    ) -> Result<Page, Refusal> {
        progress("forward and backward pass")?;
        let target = match plan.target {
            Some(target) => target,
            None => self.answer(plan)?,
        };
        let objective = Objective::Target(target);
        let base = TraceRequest::new(plan.ids.clone(), objective);
        let interventions = self.interventions(plan, &base, progress)?;
        let Some((layer, eta)) = plan.edit else {
            return self.page(plan, &base, interventions, progress);
        };
        let ServedModel::Device(model) = self else {
            let message = "needs a model on a device: the f64 oracle's weights are not changed";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "edit", message));
        };
        progress("editing")?;
        // Dropped at the end of this function, also by an error: every weight is as it was.
        let mut edit = model.edit()?;
        let fact = Fact { prompt: plan.ids.clone(), target: vec![target] };
        apply(&mut edit, &fact, &EditPlan { force: true, ..EditPlan::shift(layer, eta) })?;
        let page = self.page(plan, &base, interventions, progress);
        edit.restore()?;
        page
    }

    /// The most probable token after the prompt.
    fn answer(&self, plan: &Plan) -> Result<TokenId, Refusal> {
        let probe = TraceRequest::new(plan.ids.clone(), Objective::Target(TokenId(0)))
            .capture(Capture::only([Site::Logits]));
        Ok(answer_token(self.trace(&probe, None)?.as_ref())?)
    }

    fn interventions(
        &self,
        plan: &Plan,
        base: &TraceRequest,
        progress: &mut dyn FnMut(&str) -> Result<(), RequestError>,
    ) -> Result<Interventions, Refusal> {
        let mut interventions = Interventions { ablate: plan.ablate.clone(), patch: None };
        if let Some((map, alpha)) = plan.patch {
            let kind = match map {
                PatchMap::Reversed => BlockSite::Reversed,
                PatchMap::Forward => BlockSite::Pattern,
            };
            let n_layer = self.config().n_layer;
            let sites = map_sites(n_layer, &[kind]);
            let trace = self.trace(&base.clone().capture(Capture::only(sites.clone())), None)?;
            let maps = trace.read_all(&sites)?;
            let maps = maps.iter().map(|map| map.as_f32().to_vec()).enumerate().collect();
            interventions.patch = Some(AttentionPatch { alpha, maps, heads: None });
            progress("the changed pass")?;
        }
        Ok(interventions)
    }

    fn page(
        &self,
        plan: &Plan,
        base: &TraceRequest,
        interventions: Interventions,
        progress: &mut dyn FnMut(&str) -> Result<(), RequestError>,
    ) -> Result<Page, Refusal> {
        let mut options = PageOptions::new("overview", self.config().n_layer)?;
        options.views = plan.views;
        options.flow = FlowOptions {
            position: Some(plan.position),
            interventions: interventions.clone(),
            ..FlowOptions::default()
        };
        let capture = Capture::only(page_capture(&options, self.config())?);
        let request = base.clone().interventions(interventions).capture(capture);
        let trace = self.trace(&request, plan.prompt.as_deref())?;
        let layer = Site::Block(Layer(0), BlockSite::Pattern);
        debug_assert!(trace.sites().contains(&layer));
        Ok(page(trace.as_ref(), self.reader(), &options, self.tokenizer(), progress)?)
    }
}
