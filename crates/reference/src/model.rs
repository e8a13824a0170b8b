//! The whole model: embedding, blocks, head; forward and backward.
//!
//! ```text
//! r₀ = wte[tokens] + wpe      r₁ … r_L = the blocks      L = head(r_L)
//! δ_L = ∂L/∂r_L               δ_{l} = blockᵇ_l(δ_{l+1})
//! ```

use crate::block::{BlockBackward, BlockForward, BlockShape, block_backward, block_forward};
use crate::head::{HeadPass, head_forward, head_pass};
use crate::intervention::BlockChange;
use crate::ops::embedding;
use crate::parameters::{Parameters, WPE, WTE};
use crate::trace::ReferenceTrace;
use retrograd_formats::{
    Config, FormatError, Interventions, Objective, RequestError, ResolvedObjective, TokenId, TraceMeta,
    TraceRequest, Weights,
};
use std::collections::BTreeMap;
use std::path::Path;

/// GPT-2 in f64 on the CPU: exact, slow, and written to be read.
///
/// Holds every weight as f64: eight bytes a parameter, 1 GB for the smallest GPT-2.
///
/// ```
/// # use std::collections::BTreeMap;
/// use retrograd_formats::{BlockSite, Config, Layer, Objective, Site, TokenId, TraceRequest, Weights};
/// use retrograd_reference::ReferenceModel;
///
/// let config = Config {
///     vocab_size: 7,
///     n_positions: 4,
///     n_embd: 6,
///     n_layer: 1,
///     n_head: 2,
///     n_inner: 5,
///     layer_norm_epsilon: 1e-5,
///     bos_token_id: None,
///     eos_token_id: None,
///     tie_word_embeddings: true,
/// };
/// let mut parameters = BTreeMap::new();
/// for name in Weights::parameter_names(&config, false) {
///     let size = Weights::parameter_shape(&config, &name).iter().product();
///     let values: Vec<f64> = (0..size).map(|i: usize| ((i * 37 + name.len() * 11) % 19) as f64 / 19.0 - 0.5).collect();
///     parameters.insert(name, values);
/// }
/// let model = ReferenceModel::from_parts(config, parameters)?;
/// let ids = vec![TokenId(3), TokenId(1), TokenId(4)];
/// let trace = model.trace(&TraceRequest::new(ids, Objective::Target(TokenId(5))))?;
/// let reversed = trace.get(Site::Block(Layer(0), BlockSite::Reversed)).expect("everything is captured");
/// assert_eq!(reversed.len(), 2 * 3 * 3); // (H, T, T)
/// # Ok::<(), retrograd_formats::RequestError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReferenceModel {
    name: String,
    config: Config,
    parameters: Parameters,
}

/// One forward and one backward pass with everything they computed.
#[derive(Clone, Debug)]
pub(crate) struct Pass {
    /// By layer.
    pub forward: Vec<BlockForward>,
    /// By layer.
    pub backward: Vec<BlockBackward>,
    /// From the last block to the loss and back.
    pub head: HeadPass,
    /// ∂L/∂r₀ (T, D)
    pub delta_embedding: Vec<f64>,
}

impl ReferenceModel {
    /// Loads an HF directory; F16 and BF16 weights become f64 exactly.
    ///
    /// # Errors
    /// Where `config.json` or the weights cannot be read or do not fit together.
    pub fn load(dir: &Path) -> Result<Self, FormatError> {
        let config = Config::from_dir(dir)?;
        let weights = Weights::open(dir, &config)?;
        let config = Config { tie_word_embeddings: !weights.untied_head(), ..config };
        let mut parameters = BTreeMap::new();
        for name in Weights::parameter_names(&config, weights.untied_head()) {
            let values = weights.get(&name)?.to_f64()?;
            parameters.insert(name, values);
        }
        let parameters = Parameters::new(&config, parameters)
            .map_err(|error| FormatError::malformed(dir, error.to_string()))?;
        Ok(ReferenceModel { name: dir.display().to_string(), config, parameters })
    }

    /// Takes every parameter by its HF name, row-major, with the shapes of
    /// [`Weights::parameter_shape`]; `lm_head.weight` only when `config.tie_word_embeddings` is false.
    ///
    /// # Errors
    /// When a size of the model is 0 or its heads do not divide its width; when a parameter is missing,
    /// superfluous or of the wrong size.
    pub fn from_parts(
        config: Config,
        parameters: impl IntoIterator<Item = (String, Vec<f64>)>,
    ) -> Result<Self, RequestError> {
        let parameters = Parameters::new(&config, parameters.into_iter().collect())?;
        Ok(ReferenceModel { name: "from_parts".to_owned(), config, parameters })
    }

    /// The directory it was loaded from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every parameter by its HF name, row-major.
    pub fn parameters(&self) -> &BTreeMap<String, Vec<f64>> {
        self.parameters.tensors()
    }

    /// Every parameter by its HF name, for an optimiser to change in place.
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = (&str, &mut [f64])> {
        self.parameters.tensors_mut()
    }

    /// The logits of all positions, `[T, V]`.
    ///
    /// # Errors
    /// When there are no tokens, too many, or one outside the vocabulary.
    pub fn forward(&self, ids: &[TokenId]) -> Result<Vec<f64>, RequestError> {
        // Any objective will do: resolving the request is what checks the ids.
        TraceRequest::new(ids.to_vec(), Objective::Target(TokenId(0))).resolve(&self.config)?;
        let (_, r) = self.blocks_forward(ids, &self.changes(&Interventions::default())); // (T, D)
        let (_, logits) = head_forward(&self.parameters.head(&self.config), &r, ids.len()); // (T, V)
        Ok(logits)
    }

    /// One forward and one backward pass; keeps what the request's capture asks for.
    ///
    /// # Errors
    /// When the request does not fit the model.
    pub fn trace(&self, request: &TraceRequest) -> Result<ReferenceTrace, RequestError> {
        let objective = request.resolve(&self.config)?;
        let pass = self.pass(&request.ids, &objective, &request.interventions)?;
        let meta = TraceMeta {
            model: self.name.clone(),
            prompt: None,
            ids: request.ids.clone(),
            objective,
            adapter: "reference".to_owned(),
            driver: "f64 on the CPU".to_owned(),
            config: self.config.clone(),
        };
        Ok(ReferenceTrace::new(meta, pass, &request.capture))
    }

    /// Forward and backward; the request behind the arguments has been checked.
    pub(crate) fn pass(
        &self,
        ids: &[TokenId],
        objective: &ResolvedObjective,
        interventions: &Interventions,
    ) -> Result<Pass, RequestError> {
        let (shape, changes) = (self.block_shape(ids.len()), self.changes(interventions));
        let (forward, r) = self.blocks_forward(ids, &changes); // r (T, D)
        let head = head_pass(&self.parameters.head(&self.config), &r, objective)?;
        let mut delta = head.delta.clone(); // (T, D)
        let mut backward = Vec::with_capacity(forward.len());
        for (layer, (forward, change)) in forward.iter().zip(&changes).enumerate().rev() {
            let block = block_backward(&self.parameters.block(layer), forward, delta, shape, change);
            delta = block.delta_next.clone(); // (T, D)
            backward.push(block);
        }
        backward.reverse();
        Ok(Pass { forward, backward, head, delta_embedding: delta })
    }

    /// The embedding and all blocks: what each block computed, and r_L (T, D).
    fn blocks_forward(&self, ids: &[TokenId], changes: &[BlockChange]) -> (Vec<BlockForward>, Vec<f64>) {
        let tokens: Vec<u32> = ids.iter().map(|id| id.0).collect(); // (T)
        let (wte, wpe) = (self.parameters.get(WTE), self.parameters.get(WPE));
        let mut r = embedding(&tokens, wte, wpe, self.config.n_embd); // (T, D)
        let mut blocks = Vec::with_capacity(changes.len());
        for (layer, change) in changes.iter().enumerate() {
            let shape = self.block_shape(ids.len());
            let block = block_forward(&self.parameters.block(layer), r, shape, change);
            r = block.r_post.clone(); // (T, D)
            blocks.push(block);
        }
        (blocks, r)
    }

    /// What `interventions` change in each block.
    fn changes(&self, interventions: &Interventions) -> Vec<BlockChange> {
        let Config { n_layer, n_head, .. } = self.config;
        (0..n_layer).map(|layer| BlockChange::new(interventions, layer, n_head)).collect()
    }

    /// The sizes of every block for `t` tokens.
    fn block_shape(&self, t: usize) -> BlockShape {
        let config = &self.config;
        BlockShape {
            t,
            d: config.n_embd,
            h: config.n_head,
            i: config.n_inner,
            eps: config.layer_norm_epsilon,
        }
    }

    /// The model's parameters with their names.
    pub(crate) fn named(&self) -> &Parameters {
        &self.parameters
    }
}
