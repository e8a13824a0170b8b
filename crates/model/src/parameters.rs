//! A GPT-2's weights on the device.

use crate::ModelError;
use retrograd_formats::{Config, Weights};
use retrograd_gpu::ops::VocabRange;
use retrograd_gpu::{Dtype, Gpu, Shape, Tensor};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Element type in which the matrices (linear layers and token embedding) lie on the device.
/// Biases, norms, positions and all activations are f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit matrices.
    #[default]
    F32,
    /// 16-bit matrices: half the memory; weights stored wider are rounded to nearest.
    F16,
}

impl std::str::FromStr for Precision {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            _ => Err(format!("'{name}' is not a precision; choose f32 or f16")),
        }
    }
}

/// γ and β of a layer norm, `[D]` each.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub(crate) gamma: Tensor,
    pub(crate) beta: Tensor,
}

/// W `[in, out]` and b `[out]` of a linear layer.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

/// One block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) ln_1: Norm,
    pub(crate) c_attn: Linear,    // (D, 3D)
    pub(crate) attn_proj: Linear, // (D, D)
    pub(crate) ln_2: Norm,
    pub(crate) c_fc: Linear,     // (D, I)
    pub(crate) mlp_proj: Linear, // (I, D)
}

/// A whole model.
#[derive(Clone, Debug)]
pub(crate) struct Parameters {
    pub(crate) wte: Vec<VocabRange>, // (V, D), in ranges of rows
    pub(crate) wpe: Tensor,          // (n_positions, D)
    pub(crate) blocks: Vec<Block>,
    pub(crate) ln_f: Norm,
    pub(crate) untied_head: Option<Vec<VocabRange>>, // (V, D)
}

/// Rows of a vocabulary range at most: keeps the loops over a row of logits below what drivers allow.
const MAX_RANGE_ROWS: usize = 1 << 16;

impl Parameters {
    /// Bytes the weights take on this device, with what loading them takes besides.
    pub(crate) fn bytes(
        gpu: &Gpu,
        config: &Config,
        untied: bool,
        precision: Precision,
        purpose: WeightUse,
    ) -> Result<u64, ModelError> {
        let values = Values::None { untied };
        gpu.planned_bytes(|plan| Parameters::load(plan, config, &values, precision, purpose))
    }

    /// Uploads every weight; each is checked for NaN and infinity on the way.
    pub(crate) fn load(
        gpu: &Gpu,
        config: &Config,
        values: &Values<'_>,
        precision: Precision,
        purpose: WeightUse,
    ) -> Result<Self, ModelError> {
        let loader = Loader { gpu, config, values, precision, purpose };
        let blocks = (0..config.n_layer)
            .map(|layer| {
                let at = |name: &str| format!("transformer.h.{layer}.{name}");
                Ok(Block {
                    ln_1: loader.norm(&at("ln_1"))?,
                    c_attn: loader.linear(&at("attn.c_attn"))?,
                    attn_proj: loader.linear(&at("attn.c_proj"))?,
                    ln_2: loader.norm(&at("ln_2"))?,
                    c_fc: loader.linear(&at("mlp.c_fc"))?,
                    mlp_proj: loader.linear(&at("mlp.c_proj"))?,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        let untied_head =
            if values.untied_head() { Some(loader.vocabulary("lm_head.weight")?) } else { None };
        Ok(Parameters {
            wte: loader.vocabulary("transformer.wte.weight")?,
            wpe: loader.tensor("transformer.wpe.weight")?,
            blocks,
            ln_f: loader.norm("transformer.ln_f")?,
            untied_head,
        })
    }

    /// The unembedding: the token embedding, unless the model has a matrix of its own.
    pub(crate) fn head(&self) -> &[VocabRange] {
        self.untied_head.as_deref().unwrap_or(&self.wte)
    }

    /// Every tensor with its canonical HF name; vocabulary matrices appear once per range.
    pub(crate) fn named(&self) -> Vec<(String, &Tensor)> {
        let mut named = Vec::new();
        for range in &self.wte {
            named.push(("transformer.wte.weight".to_owned(), &range.rows));
        }
        named.push(("transformer.wpe.weight".to_owned(), &self.wpe));
        for (layer, block) in self.blocks.iter().enumerate() {
            let mut add = |name: &str, tensor| named.push((format!("transformer.h.{layer}.{name}"), tensor));
            add("ln_1.weight", &block.ln_1.gamma);
            add("ln_1.bias", &block.ln_1.beta);
            add("attn.c_attn.weight", &block.c_attn.weight);
            add("attn.c_attn.bias", &block.c_attn.bias);
            add("attn.c_proj.weight", &block.attn_proj.weight);
            add("attn.c_proj.bias", &block.attn_proj.bias);
            add("ln_2.weight", &block.ln_2.gamma);
            add("ln_2.bias", &block.ln_2.beta);
            add("mlp.c_fc.weight", &block.c_fc.weight);
            add("mlp.c_fc.bias", &block.c_fc.bias);
            add("mlp.c_proj.weight", &block.mlp_proj.weight);
            add("mlp.c_proj.bias", &block.mlp_proj.bias);
        }
        named.push(("transformer.ln_f.weight".to_owned(), &self.ln_f.gamma));
        named.push(("transformer.ln_f.bias".to_owned(), &self.ln_f.beta));
        for range in self.untied_head.iter().flatten() {
            named.push(("lm_head.weight".to_owned(), &range.rows));
        }
        named
    }

    /// Tensors of the same shapes with unspecified elements: for gradients and moments.
    pub(crate) fn like(&self, gpu: &Gpu) -> Result<Self, ModelError> {
        let norm = |n: &Norm| -> Result<Norm, ModelError> {
            Ok(Norm { gamma: similar(gpu, &n.gamma)?, beta: similar(gpu, &n.beta)? })
        };
        let linear = |l: &Linear| -> Result<Linear, ModelError> {
            Ok(Linear { weight: similar(gpu, &l.weight)?, bias: similar(gpu, &l.bias)? })
        };
        let vocabulary = |ranges: &[VocabRange]| -> Result<Vec<VocabRange>, ModelError> {
            ranges
                .iter()
                .map(|range| Ok(VocabRange { first: range.first, rows: similar(gpu, &range.rows)? }))
                .collect()
        };
        Ok(Parameters {
            wte: vocabulary(&self.wte)?,
            wpe: similar(gpu, &self.wpe)?,
            blocks: self
                .blocks
                .iter()
                .map(|b| {
                    Ok(Block {
                        ln_1: norm(&b.ln_1)?,
                        c_attn: linear(&b.c_attn)?,
                        attn_proj: linear(&b.attn_proj)?,
                        ln_2: norm(&b.ln_2)?,
                        c_fc: linear(&b.c_fc)?,
                        mlp_proj: linear(&b.mlp_proj)?,
                    })
                })
                .collect::<Result<_, ModelError>>()?,
            ln_f: norm(&self.ln_f)?,
            untied_head: self.untied_head.as_deref().map(vocabulary).transpose()?,
        })
    }
}

fn similar(gpu: &Gpu, tensor: &Tensor) -> Result<Tensor, ModelError> {
    Ok(gpu.allocate(tensor.shape(), Dtype::F32)?)
}

/// Whether a parameter is stored in the chosen precision.
fn is_matrix(name: &str) -> bool {
    name == "transformer.wte.weight"
        || name == "lm_head.weight"
        || ["c_attn.weight", "c_proj.weight", "c_fc.weight"].iter().any(|suffix| name.ends_with(suffix))
}

/// What will be done with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WeightUse {
    /// Matrices are only multiplied and looked up in: they lie as products read them fastest.
    Read,
    /// They are updated by training: they lie in buffers.
    Update,
}

/// Where parameters come from.
pub(crate) enum Values<'a> {
    /// An HF directory.
    Files(&'a Weights),
    /// Host memory, by canonical HF name.
    Host(&'a BTreeMap<String, Vec<f32>>),
    /// A function from canonical HF name and number of elements, asked for one parameter at a time; tied head.
    Made(&'a dyn Fn(&str, usize) -> Vec<f32>, &'a Config),
    /// Nowhere: only their shapes matter, for an estimate.
    None { untied: bool },
}

impl Values<'_> {
    fn untied_head(&self) -> bool {
        match self {
            Values::Files(weights) => weights.untied_head(),
            Values::Host(values) => values.contains_key("lm_head.weight"),
            Values::Made(..) => false,
            Values::None { untied } => *untied,
        }
    }

    fn f32(&self, name: &str) -> Result<Cow<'_, [f32]>, ModelError> {
        match self {
            Values::Files(weights) => Ok(weights.get(name)?.to_f32()?),
            Values::Host(values) => match values.get(name) {
                Some(values) => Ok(Cow::Borrowed(values)),
                None => Err(ModelError::invalid(name, "is missing")),
            },
            Values::Made(make, config) => {
                let size = Weights::parameter_shape(config, name).iter().product();
                let values = make(name, size);
                if values.len() != size {
                    let reason = format!("needs {size} values and was given {}", values.len());
                    return Err(ModelError::invalid(name, reason));
                }
                Ok(Cow::Owned(values))
            }
            Values::None { .. } => Err(ModelError::invalid(name, "has no values")),
        }
    }

    fn f16(&self, name: &str) -> Result<Vec<u16>, ModelError> {
        match self {
            Values::Files(weights) => Ok(weights.get(name)?.to_f16_bits()?),
            Values::Host(_) | Values::Made(..) | Values::None { .. } => {
                Ok(self.f32(name)?.iter().map(|x| half::f16::from_f32(*x).to_bits()).collect())
            }
        }
    }
}

struct Loader<'a> {
    gpu: &'a Gpu,
    config: &'a Config,
    values: &'a Values<'a>,
    precision: Precision,
    purpose: WeightUse,
}

impl Loader<'_> {
    fn allocate(&self, shape: Shape, dtype: Dtype, matrix: bool) -> Result<Tensor, ModelError> {
        let operand = matrix && self.purpose == WeightUse::Read;
        Ok(if operand {
            self.gpu.allocate_operand(shape, dtype)?
        } else {
            self.gpu.allocate(shape, dtype)?
        })
    }

    fn norm(&self, path: &str) -> Result<Norm, ModelError> {
        Ok(Norm {
            gamma: self.tensor(&format!("{path}.weight"))?,
            beta: self.tensor(&format!("{path}.bias"))?,
        })
    }

    fn linear(&self, path: &str) -> Result<Linear, ModelError> {
        Ok(Linear {
            weight: self.tensor(&format!("{path}.weight"))?,
            bias: self.tensor(&format!("{path}.bias"))?,
        })
    }

    fn tensor(&self, name: &str) -> Result<Tensor, ModelError> {
        let shape = match Weights::parameter_shape(self.config, name)[..] {
            [a] => [a].into(),
            [a, b] => [a, b].into(),
            _ => return Err(ModelError::invalid(name, "is not a parameter of the model")),
        };
        let matrix = is_matrix(name);
        let f16 = self.precision == Precision::F16 && matrix;
        let tensor = self.allocate(shape, if f16 { Dtype::F16 } else { Dtype::F32 }, matrix)?;
        if let Values::None { .. } = self.values {
            return Ok(tensor);
        }
        if f16 {
            self.gpu.write_f16(&tensor, &self.values.f16(name)?)?;
        } else {
            self.gpu.write(&tensor, &self.values.f32(name)?)?;
        }
        Ok(tensor)
    }

    /// A `[V, D]` matrix in as few ranges of rows as the device can bind.
    fn vocabulary(&self, name: &str) -> Result<Vec<VocabRange>, ModelError> {
        let (vocab, width) = (self.config.vocab_size, self.config.n_embd);
        let f16 = self.precision == Precision::F16;
        let row_bytes = width as u64 * if f16 { 2 } else { 4 };
        let capabilities = self.gpu.capabilities();
        let mut fit = (capabilities.max_binding.min(capabilities.max_buffer) / row_bytes) as usize;
        if self.purpose == WeightUse::Read {
            fit = fit.min(self.gpu.max_operand_rows().unwrap_or(usize::MAX));
        }
        let count = vocab.div_ceil(vocab.div_ceil(fit.clamp(1, MAX_RANGE_ROWS)));
        if let Values::None { .. } = self.values {
            let dtype = if f16 { Dtype::F16 } else { Dtype::F32 };
            return self.ranges(count, |rows| self.allocate([rows.len(), width].into(), dtype, true));
        }
        if f16 {
            let bits = self.values.f16(name)?;
            self.ranges(count, |rows| {
                let tensor = self.allocate([rows.len(), width].into(), Dtype::F16, true)?;
                self.gpu.write_f16(&tensor, &bits[rows.start * width..rows.end * width])?;
                Ok(tensor)
            })
        } else {
            let values = self.values.f32(name)?;
            self.ranges(count, |rows| {
                let tensor = self.allocate([rows.len(), width].into(), Dtype::F32, true)?;
                self.gpu.write(&tensor, &values[rows.start * width..rows.end * width])?;
                Ok(tensor)
            })
        }
    }

    fn ranges(
        &self,
        count: usize,
        upload: impl Fn(std::ops::Range<usize>) -> Result<Tensor, ModelError>,
    ) -> Result<Vec<VocabRange>, ModelError> {
        let vocab = self.config.vocab_size;
        (0..vocab)
            .step_by(count)
            .map(|first| Ok(VocabRange { first, rows: upload(first..(first + count).min(vocab))? }))
            .collect()
    }
}
