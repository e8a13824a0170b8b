//! Mean maps in the form of a trace, so that what reads traces reads them: a patch takes its maps from such a file.

use crate::{LayoutMaps, MapSpan, TaskMaps, TaskPrompt};
use retrograd_formats::{
    BlockSite, HostTensor, Layer, Objective, PatchMap, RequestError, Site, TraceMeta, TraceRead,
};
use retrograd_model::Gpt2;

/// What is taken of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapMoment {
    /// Their mean over the prompts.
    Mean,
    /// Their standard deviation.
    Std,
}

/// The mean maps of the layout with the most prompts. Tokens and objective are those of the first prompt with that layout,
/// the loss is the mean of all.
pub struct MeanTrace<'a> {
    maps: &'a LayoutMaps,
    moment: MapMoment,
    loss: f32,
    meta: TraceMeta,
}

impl<'a> MeanTrace<'a> {
    /// From the maps of a task's prompts.
    ///
    /// # Errors
    /// When the maps were left out, or are not of these prompts.
    pub fn new(
        model: &Gpt2,
        maps: &'a TaskMaps,
        prompts: &[TaskPrompt],
        moment: MapMoment,
    ) -> Result<Self, RequestError> {
        let missing = || RequestError::invalid("mean maps", "there are none of these prompts");
        let layout = maps.layouts.first().ok_or_else(missing)?;
        let fits = |prompt: &&TaskPrompt| {
            prompt.layout == layout.layout
                && prompt.ids.len() == layout.prompt_tokens
                && (maps.span == MapSpan::Prompt || prompt.ids.len() + prompt.answer.len() == layout.tokens)
        };
        let first = prompts.iter().find(fits).ok_or_else(missing)?;
        let (ids, objective) = match maps.span {
            MapSpan::Prompt => (first.ids.clone(), Objective::Target(first.target())),
            MapSpan::Answer => {
                let ids = [first.ids.as_slice(), &first.answer].concat();
                (ids, Objective::Completion { start: first.ids.len() })
            }
        };
        let adapter = model.gpu().adapter();
        let meta = TraceMeta {
            model: model.name().to_owned(),
            prompt: model.tokenizer().map(|tokenizer| tokenizer.decode(&ids)),
            objective: objective.resolve(&ids, model.config())?,
            ids,
            adapter: adapter.name.clone(),
            driver: format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned(),
            config: model.config().clone(),
        };
        Ok(MeanTrace { maps: layout, moment, loss: maps.loss.mean as f32, meta })
    }
}

impl TraceRead for MeanTrace<'_> {
    fn meta(&self) -> &TraceMeta {
        &self.meta
    }

    fn sites(&self) -> Vec<Site> {
        let both = [BlockSite::Pattern, BlockSite::Reversed];
        let maps =
            (0..self.meta.config.n_layer).flat_map(|layer| both.map(|site| Site::Block(Layer(layer), site)));
        [Site::Tokens, Site::Loss].into_iter().chain(maps).collect()
    }

    fn read_all(&self, sites: &[Site]) -> Result<Vec<HostTensor>, RequestError> {
        let read = |site: &Site| {
            let shape = site.shape(&self.meta.config, self.meta.ids.len(), self.meta.objective.count);
            let map = match site {
                Site::Tokens => {
                    return Ok(HostTensor::u32(shape, self.meta.ids.iter().map(|id| id.0).collect()));
                }
                Site::Loss => return Ok(HostTensor::f32(shape, vec![self.loss])),
                Site::Block(Layer(layer), BlockSite::Pattern) => (PatchMap::Forward, *layer),
                Site::Block(Layer(layer), BlockSite::Reversed) => (PatchMap::Reversed, *layer),
                other => return Err(RequestError::invalid(other.to_string(), "is not among mean maps")),
            };
            let (kind, layer) = map;
            let values = match (self.moment, kind) {
                (MapMoment::Mean, kind) => self.maps.mean(kind, layer),
                (MapMoment::Std, PatchMap::Reversed) => &self.maps.reversed[layer].std,
                (MapMoment::Std, PatchMap::Forward) => &self.maps.pattern[layer].std,
            };
            Ok(HostTensor::f32(shape, values.to_vec()))
        };
        sites.iter().map(read).collect()
    }
}
