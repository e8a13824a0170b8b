//! Verification on the device at hand: what it computes, held to f64.
//!
//! [`run`] compares every operation of the engine with its twin in f64, in every variant of the matrix product
//! and both precisions; then traces a model and compares each tensor with the oracle's, evaluates each equation
//! of the backward pass from the device's own tensors, so that the one at fault has a name, holds weight gradients
//! to central differences of the loss, and does everything again for the same bits. [`against`] compares a trace
//! with gradients from anywhere else.
//!
//! Beside each deviation stands the rounding to expect of f32:
//!
//! - of a kernel, from the length of its sums: √n·2⁻²⁴ of the largest value for n terms;
//! - of a trace or an equation, by experiment: the f64 computation is repeated with its weights or inputs moved by
//!   as much, and what comes of it is expected.
//!
//! Four times that is allowed, and 2e-6 of a tensor's largest value in any case. A NaN is outside, always.

mod against;
mod devices;
pub mod kernels;
mod model;
mod random;
mod random_model;
mod report;
mod rounding;
pub mod self_test;

pub use against::{Against, against};
pub use devices::Devices;
pub use report::{Check, Finding, Report, Section};

use model::ModelChecks;
use retrograd_formats::{Config, RequestError, TraceRequest};
use retrograd_gpu::ops::GemmVariant;
use retrograd_model::{ModelError, Precision};
use std::path::PathBuf;

/// How much is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A few cases of each kind.
    Brief,
    /// What takes well under a minute on a software driver.
    #[default]
    Usual,
    /// Every case there is.
    Full,
}

/// Which ways to compute products are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    /// Those that the device chooses by itself, and the others briefly.
    #[default]
    Chosen,
    /// This one alone.
    One(GemmVariant),
    /// Each in turn, traces too.
    All,
}

/// What [`run`] does.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The device.
    pub devices: Devices,
    /// The model to trace; without one, kernels alone.
    pub model: Option<PathBuf>,
    /// What is traced; without it, a loss on every next token and one on the last position.
    pub request: Option<TraceRequest>,
    /// Element types of the model's matrices; none for both.
    pub precisions: Vec<Precision>,
    /// Ways to compute products.
    pub products: Products,
    /// Only the operations whose name matches, as in `gemm*,layer_norm`.
    pub kernels: Option<String>,
    /// How much.
    pub scope: Scope,
}

/// Verifies kernels, and a model where there is one.
///
/// # Errors
/// When a file cannot be read, the request does not fit the model, or the device fails. What is computed wrongly is
/// no error: it stands in the report.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Report, ModelError> {
    if let Some(dir) = &options.model {
        check(options.request.as_ref(), &Config::from_dir(dir)?)?;
    }
    let mut report = Report::default();
    let devices = &options.devices;
    let own = devices.open(None)?.gemm_variant();
    let (variants, traced): (Vec<(GemmVariant, Scope)>, Vec<Option<GemmVariant>>) = match options.products {
        Products::One(variant) => (vec![(variant, options.scope)], vec![Some(variant)]),
        Products::All => (
            GemmVariant::ALL.into_iter().map(|variant| (variant, options.scope)).collect(),
            GemmVariant::ALL.into_iter().map(Some).collect(),
        ),
        Products::Chosen => {
            let others = if options.scope == Scope::Full { Scope::Full } else { Scope::Brief };
            let scope = |variant| if variant == own { options.scope } else { others };
            (GemmVariant::ALL.into_iter().map(|variant| (variant, scope(variant))).collect(), vec![None])
        }
    };
    kernels::verify(devices, &variants, options.kernels.as_deref(), options.scope, &mut report, progress)?;
    if let Some(dir) = &options.model {
        let both = [Precision::F32, Precision::F16];
        let checks = ModelChecks {
            devices,
            dir,
            request: options.request.as_ref(),
            precisions: if options.precisions.is_empty() { &both } else { &options.precisions },
            variants: &traced,
        };
        checks.run(&mut report, progress)?;
        checks.gradients(&mut report, progress)?;
    }
    Ok(report)
}

/// Refuses a request that does not fit, before anything is computed.
fn check(request: Option<&TraceRequest>, config: &Config) -> Result<(), RequestError> {
    request.map_or(Ok(()), |request| request.resolve(config).map(|_| ()))
}
