//! The tensors of a trace and their names: HF module paths, as every tool of the field writes them.

use crate::{Config, Layer, RequestError};
use std::fmt;
use std::str::FromStr;

/// One tensor of a trace. `Display` and `FromStr` use the name it has in a trace file.
///
/// T = tokens, P = positions that carry loss, D = width, I = MLP width, H = heads, V = vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// `tokens u32[T]`
    Tokens,
    /// `loss [1]`
    Loss,
    /// `logits [P, V]`
    Logits,
    /// A tensor inside a block.
    Block(Layer, BlockSite),
    /// `transformer.ln_f.input [T, D]`
    LnFInput,
    /// `transformer.ln_f.weight.grad [D]`
    LnFWeightGrad,
    /// `transformer.ln_f.bias.grad [D]`
    LnFBiasGrad,
    /// `lm_head.input [P, D]`
    LmHeadInput,
    /// `lm_head.delta [P, V]`
    LmHeadDelta,
}

/// A tensor inside a block; see [`Site::Block`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockSite {
    /// `attn.pattern [H, T, T]`: softmax of the scaled, causal scores, before any patch.
    Pattern,
    /// `attn.reversed [H, T, T]`: ∂L/∂(q·kᵀ), Reversed Attention.
    Reversed,
    /// `attn.c_attn.input [T, D]`
    CAttnInput,
    /// `attn.c_attn.delta [T, 3D]`
    CAttnDelta,
    /// `attn.c_proj.input [T, D]`
    AttnProjInput,
    /// `attn.c_proj.delta [T, D]`
    AttnProjDelta,
    /// `mlp.c_fc.input [T, D]`
    FcInput,
    /// `mlp.c_fc.delta [T, I]`
    FcDelta,
    /// `mlp.c_proj.input [T, I]`
    MlpProjInput,
    /// `mlp.c_proj.delta [T, D]`
    MlpProjDelta,
    /// `resid_pre [T, D]`: the residual stream as it enters the block.
    ResidPre,
    /// `resid_mid [T, D]`: after attention.
    ResidMid,
    /// `resid_post [T, D]`: as it leaves the block.
    ResidPost,
    /// `resid_pre.delta [T, D]`
    ResidPreDelta,
    /// `resid_mid.delta [T, D]`
    ResidMidDelta,
    /// `resid_post.delta [T, D]`
    ResidPostDelta,
    /// `ln_1.weight.grad [D]`
    Ln1WeightGrad,
    /// `ln_1.bias.grad [D]`
    Ln1BiasGrad,
    /// `ln_2.weight.grad [D]`
    Ln2WeightGrad,
    /// `ln_2.bias.grad [D]`
    Ln2BiasGrad,
}

impl BlockSite {
    /// Every site of a block, in the order of a trace file.
    pub const ALL: [BlockSite; 20] = [
        BlockSite::Pattern,
        BlockSite::Reversed,
        BlockSite::CAttnInput,
        BlockSite::CAttnDelta,
        BlockSite::AttnProjInput,
        BlockSite::AttnProjDelta,
        BlockSite::FcInput,
        BlockSite::FcDelta,
        BlockSite::MlpProjInput,
        BlockSite::MlpProjDelta,
        BlockSite::ResidPre,
        BlockSite::ResidMid,
        BlockSite::ResidPost,
        BlockSite::ResidPreDelta,
        BlockSite::ResidMidDelta,
        BlockSite::ResidPostDelta,
        BlockSite::Ln1WeightGrad,
        BlockSite::Ln1BiasGrad,
        BlockSite::Ln2WeightGrad,
        BlockSite::Ln2BiasGrad,
    ];

    /// The name below `transformer.h.{l}.`.
    pub fn suffix(self) -> &'static str {
        match self {
            BlockSite::Pattern => "attn.pattern",
            BlockSite::Reversed => "attn.reversed",
            BlockSite::CAttnInput => "attn.c_attn.input",
            BlockSite::CAttnDelta => "attn.c_attn.delta",
            BlockSite::AttnProjInput => "attn.c_proj.input",
            BlockSite::AttnProjDelta => "attn.c_proj.delta",
            BlockSite::FcInput => "mlp.c_fc.input",
            BlockSite::FcDelta => "mlp.c_fc.delta",
            BlockSite::MlpProjInput => "mlp.c_proj.input",
            BlockSite::MlpProjDelta => "mlp.c_proj.delta",
            BlockSite::ResidPre => "resid_pre",
            BlockSite::ResidMid => "resid_mid",
            BlockSite::ResidPost => "resid_post",
            BlockSite::ResidPreDelta => "resid_pre.delta",
            BlockSite::ResidMidDelta => "resid_mid.delta",
            BlockSite::ResidPostDelta => "resid_post.delta",
            BlockSite::Ln1WeightGrad => "ln_1.weight.grad",
            BlockSite::Ln1BiasGrad => "ln_1.bias.grad",
            BlockSite::Ln2WeightGrad => "ln_2.weight.grad",
            BlockSite::Ln2BiasGrad => "ln_2.bias.grad",
        }
    }
}

impl Site {
    /// Every site of a model with `n_layer` blocks, in the order of a trace file.
    pub fn all(n_layer: usize) -> Vec<Site> {
        let blocks = (0..n_layer)
            .flat_map(|l| BlockSite::ALL.into_iter().map(move |site| Site::Block(Layer(l), site)));
        [Site::Tokens, Site::Loss, Site::Logits]
            .into_iter()
            .chain(blocks)
            .chain([
                Site::LnFInput,
                Site::LnFWeightGrad,
                Site::LnFBiasGrad,
                Site::LmHeadInput,
                Site::LmHeadDelta,
            ])
            .collect()
    }

    /// The shape for `tokens` tokens of which `loss_positions` carry loss.
    pub fn shape(self, config: &Config, tokens: usize, loss_positions: usize) -> Vec<usize> {
        let (t, p, d) = (tokens, loss_positions, config.n_embd);
        match self {
            Site::Tokens => vec![t],
            Site::Loss => vec![1],
            Site::Logits | Site::LmHeadDelta => vec![p, config.vocab_size],
            Site::LnFInput => vec![t, d],
            Site::LnFWeightGrad | Site::LnFBiasGrad => vec![d],
            Site::LmHeadInput => vec![p, d],
            Site::Block(_, site) => match site {
                BlockSite::Pattern | BlockSite::Reversed => vec![config.n_head, t, t],
                BlockSite::CAttnDelta => vec![t, 3 * d],
                BlockSite::FcDelta | BlockSite::MlpProjInput => vec![t, config.n_inner],
                BlockSite::Ln1WeightGrad
                | BlockSite::Ln1BiasGrad
                | BlockSite::Ln2WeightGrad
                | BlockSite::Ln2BiasGrad => vec![d],
                _ => vec![t, d],
            },
        }
    }

    /// The block this site stands in, if any.
    pub fn layer(self) -> Option<Layer> {
        match self {
            Site::Block(layer, _) => Some(layer),
            _ => None,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Site::Tokens => f.write_str("tokens"),
            Site::Loss => f.write_str("loss"),
            Site::Logits => f.write_str("logits"),
            Site::Block(layer, site) => write!(f, "transformer.h.{layer}.{}", site.suffix()),
            Site::LnFInput => f.write_str("transformer.ln_f.input"),
            Site::LnFWeightGrad => f.write_str("transformer.ln_f.weight.grad"),
            Site::LnFBiasGrad => f.write_str("transformer.ln_f.bias.grad"),
            Site::LmHeadInput => f.write_str("lm_head.input"),
            Site::LmHeadDelta => f.write_str("lm_head.delta"),
        }
    }
}

impl FromStr for Site {
    type Err = RequestError;
    fn from_str(name: &str) -> Result<Self, RequestError> {
        let block = name.strip_prefix("transformer.h.").and_then(|rest| {
            let (layer, suffix) = rest.split_once('.')?;
            let site = BlockSite::ALL.into_iter().find(|site| site.suffix() == suffix)?;
            Some(Site::Block(Layer(layer.parse().ok()?), site))
        });
        block
            .or_else(|| Site::all(0).into_iter().find(|site| site.to_string() == name))
            .ok_or_else(|| RequestError::invalid("site", format!("'{name}' is not a tensor of a trace")))
    }
}

/// The four linear layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinearKind {
    /// `attn.c_attn`: D → 3D
    CAttn,
    /// `attn.c_proj`: D → D
    AttnProj,
    /// `mlp.c_fc`: D → I
    Fc,
    /// `mlp.c_proj`: I → D
    MlpProj,
}

impl LinearKind {
    /// In the order of the forward pass.
    pub const ALL: [LinearKind; 4] =
        [LinearKind::CAttn, LinearKind::AttnProj, LinearKind::Fc, LinearKind::MlpProj];

    /// The site that holds the layer's input x.
    pub fn input(self) -> BlockSite {
        match self {
            LinearKind::CAttn => BlockSite::CAttnInput,
            LinearKind::AttnProj => BlockSite::AttnProjInput,
            LinearKind::Fc => BlockSite::FcInput,
            LinearKind::MlpProj => BlockSite::MlpProjInput,
        }
    }

    /// The site that holds the backward signal δ at the layer's output.
    pub fn delta(self) -> BlockSite {
        match self {
            LinearKind::CAttn => BlockSite::CAttnDelta,
            LinearKind::AttnProj => BlockSite::AttnProjDelta,
            LinearKind::Fc => BlockSite::FcDelta,
            LinearKind::MlpProj => BlockSite::MlpProjDelta,
        }
    }

    /// The name below `transformer.h.{l}.`.
    pub fn suffix(self) -> &'static str {
        match self {
            LinearKind::CAttn => "attn.c_attn",
            LinearKind::AttnProj => "attn.c_proj",
            LinearKind::Fc => "mlp.c_fc",
            LinearKind::MlpProj => "mlp.c_proj",
        }
    }
}

/// A linear layer whose weight gradient is `xᵀδ`. `FromStr` takes the HF module path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinearLayer {
    /// One of the four of a block.
    Block(Layer, LinearKind),
    /// The unembedding.
    LmHead,
}

impl LinearLayer {
    /// The sites of its two gradient factors: input x and backward signal δ.
    pub fn factors(self) -> (Site, Site) {
        match self {
            LinearLayer::Block(layer, kind) => {
                (Site::Block(layer, kind.input()), Site::Block(layer, kind.delta()))
            }
            LinearLayer::LmHead => (Site::LmHeadInput, Site::LmHeadDelta),
        }
    }
}

impl fmt::Display for LinearLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinearLayer::Block(layer, kind) => write!(f, "transformer.h.{layer}.{}", kind.suffix()),
            LinearLayer::LmHead => f.write_str("lm_head"),
        }
    }
}

impl FromStr for LinearLayer {
    type Err = RequestError;
    fn from_str(path: &str) -> Result<Self, RequestError> {
        if path == "lm_head" {
            return Ok(LinearLayer::LmHead);
        }
        let block = path.strip_prefix("transformer.h.").and_then(|rest| {
            let (layer, suffix) = rest.split_once('.')?;
            let kind = LinearKind::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
            Some(LinearLayer::Block(Layer(layer.parse().ok()?), kind))
        });
        block.ok_or_else(|| {
            RequestError::invalid(
                "linear layer",
                format!("'{path}' is none; expected lm_head or transformer.h.L.(attn.c_attn|attn.c_proj|mlp.c_fc|mlp.c_proj)"),
            )
        })
    }
}
