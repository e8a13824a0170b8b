//! Kernels: WGSL templates from `shaders/`, expanded for the options of a variant.
//!
//! The templates are in Jinja's notation (`{% for i in range(tm) %}`, `{{ i }}`), so that register
//! tiles are unrolled into named scalars: naga turns WGSL arrays into memory that drivers do not
//! keep in registers, which costs up to ten times.

use crate::GpuError;
use minijinja::Environment;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

macro_rules! shaders {
    ($($name:literal),* $(,)?) => {
        /// Every template: name and text.
        const SHADERS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../shaders/", $name, ".wgsl")))),*];
    };
}

shaders!(
    "add_scaled",
    "adamw",
    "attention_decode",
    "causal_softmax",
    "column_parts",
    "column_sum",
    "cross_entropy",
    "cross_entropy_stats",
    "embedding",
    "embedding_backward",
    "gelu",
    "gemm_common",
    "gemm_register",
    "gemm_workgroup",
    "global_norm",
    "head_products",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_grad",
    "map_norms",
    "pack",
    "patch_attention",
    "position_embedding_backward",
    "replace_heads",
    "row_reduce",
    "reversed_attention",
    "square_sum",
    "unpack",
    "vocabulary_summary",
    "weighted_sum",
);

/// A kernel and the options of its variant.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// File name in `shaders/` without its ending.
    pub(crate) name: &'static str,
    /// Template variables.
    pub(crate) options: Vec<(&'static str, u32)>,
    /// The WGSL of a kernel that is not this crate's.
    text: Option<Arc<str>>,
}

impl Kernel {
    pub(crate) fn new(name: &'static str, options: impl Into<Vec<(&'static str, u32)>>) -> Self {
        Kernel { name, options: options.into(), text: None }
    }

    /// A caller's own kernel, which is no template.
    pub(crate) fn custom(name: &'static str, wgsl: &str) -> Self {
        Kernel { name, options: Vec::new(), text: Some(wgsl.into()) }
    }

    /// Whether it is a caller's own.
    pub(crate) fn is_custom(&self) -> bool {
        self.text.is_some()
    }

    /// Tells compiled kernels apart: own ones of the same name by their text.
    pub(crate) fn identity(&self) -> String {
        match &self.text {
            Some(text) => format!("{}\n{text}", self.name),
            None => self.key(),
        }
    }

    /// Identifies the variant: `layer_norm lanes=8`.
    pub(crate) fn key(&self) -> String {
        let mut key = self.name.to_owned();
        for (name, value) in &self.options {
            key.push_str(&format!(" {name}={value}"));
        }
        key
    }

    /// The WGSL exactly as it is compiled.
    pub(crate) fn source(&self) -> Result<String, String> {
        if let Some(text) = &self.text {
            return Ok(text.to_string());
        }
        let context: BTreeMap<&str, u32> = self.options.iter().copied().collect();
        templates()
            .and_then(|environment| environment.get_template(self.name))
            .and_then(|template| template.render(context))
            .map_err(|error| format!("{error:#}"))
    }
}

fn templates() -> Result<&'static Environment<'static>, minijinja::Error> {
    static TEMPLATES: OnceLock<Environment<'static>> = OnceLock::new();
    if let Some(environment) = TEMPLATES.get() {
        return Ok(environment);
    }
    let mut environment = Environment::new();
    let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    for (name, text) in SHADERS {
        environment.add_template(name, text)?;
    }
    Ok(TEMPLATES.get_or_init(|| environment))
}

/// Every kernel variant that `gpu` has compiled so far, as (file name, WGSL text).
///
/// The text is exactly what the driver was given: for study, and for other compilers.
pub fn dump_shaders(gpu: &crate::Gpu) -> Result<Vec<(String, String)>, GpuError> {
    gpu.compiled_kernels()
        .into_iter()
        .map(|kernel| {
            let name = kernel.key().replace(' ', "_").replace('=', "-") + ".wgsl";
            let text = kernel.source().map_err(|reason| GpuError::Kernel {
                kernel: kernel.key(),
                adapter: gpu.adapter().name.clone(),
                reason,
            })?;
            Ok((name, text))
        })
        .collect()
}
