//! Editing weights on the device, and taking it back bit for bit.
//!
//! ```text
//! W ← W + s·xᵀδ        (in, out) += s·(R, in)ᵀ·(R, out): one GEMM in TN form that adds to W
//! b ← b + s·Σ_t δ_t    the same with x = 1: a bias is the row of W for an input that is always 1
//! ```

use crate::ModelError;
use crate::gpt2::Gpt2;
use crate::parameters::Linear;
use crate::trace::Trace;
use retrograd_formats::{HostTensor, LinearLayer, Weights};
use retrograd_gpu::ops::{self, Gemm, Matrix};
use retrograd_gpu::{Dtype, Recorder, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The weights of a model under change. What was changed is restored to the bit when this is dropped, unless
/// [`keep`](WeightEdit::keep) is called.
///
/// The change is made in place: it acts on every clone of the [`Gpt2`] at once. A model has one such scope at
/// a time. Matrices that lie on the device as f16 are changed in f32 on the host and rounded each time they
/// are written back, so that small steps add up.
///
/// ```no_run
/// # use retrograd_formats::{HostTensor, LinearLayer};
/// # use retrograd_gpu::{Gpu, GpuOptions};
/// # use retrograd_model::{Gpt2, Precision};
/// let gpu = Gpu::open(&GpuOptions::default())?;
/// let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
/// let mut edit = model.edit()?;
/// let layer: LinearLayer = "transformer.h.2.mlp.c_proj".parse()?;
/// let (x, delta) = (HostTensor::f32([1, 512], vec![0.1; 512]), HostTensor::f32([1, 128], vec![0.2; 128]));
/// edit.add(layer, &x, &delta, 0.5)?; // W ← W + 0.5·xᵀδ
/// println!("‖ΔW‖ {:.3}", edit.changes()?[0].norm);
/// edit.restore()?; // every bit as it was
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct WeightEdit {
    model: Gpt2,
    originals: BTreeMap<String, Original>,
}

/// How far a weight is from what it was.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightChange {
    /// Canonical HF name, `transformer.h.2.mlp.c_proj.weight`.
    pub name: String,
    /// ‖ΔW‖, Frobenius.
    pub norm: f64,
    /// ‖ΔW‖ / ‖W‖.
    pub relative: f64,
}

/// A weight that was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedWeight {
    /// Canonical HF name.
    pub name: String,
    /// Its shape, a matrix as `[in, out]`.
    pub shape: Vec<usize>,
    /// Its values before the first change, row-major.
    pub before: Vec<f32>,
    /// Its values now.
    pub after: Vec<f32>,
}

/// A weight as it was.
enum Original {
    /// f32: a copy on the device, and the buffer that receives the changes: the weight itself, unless that is an
    /// image, into which it is packed after each change.
    Device { saved: Tensor, edited: Tensor, changed: bool },
    /// f16: its values, exact in f32, and the edited ones before they are rounded.
    Host { saved: Vec<f32>, edited: Vec<f32>, changed: bool },
}

impl Original {
    fn changed(&self) -> bool {
        match self {
            Original::Device { changed, .. } | Original::Host { changed, .. } => *changed,
        }
    }
}

/// The two factors of a change, on the device.
struct Factors<'a> {
    name: String,
    weight: &'a Tensor,
    x: &'a Tensor,     // (R, in)
    delta: &'a Tensor, // (R, out)
}

impl Gpt2 {
    /// Opens the model's weights for change.
    ///
    /// # Errors
    /// When they are open already.
    pub fn edit(&self) -> Result<WeightEdit, ModelError> {
        if self.0.editing.swap(true, Ordering::AcqRel) {
            return Err(ModelError::invalid("edit", "the model is being edited: end the other edit first"));
        }
        Ok(WeightEdit { model: self.clone(), originals: BTreeMap::new() })
    }
}

impl WeightEdit {
    /// The model as it is now, changes included.
    pub fn model(&self) -> &Gpt2 {
        &self.model
    }

    /// `W ← W + scale·xᵀδ` for x `[R, in]` and δ `[R, out]`.
    ///
    /// # Errors
    /// When the model has no such layer, a shape does not fit, or a number is not finite.
    pub fn add(
        &mut self,
        layer: LinearLayer,
        x: &HostTensor,
        delta: &HostTensor,
        scale: f32,
    ) -> Result<(), ModelError> {
        let model = self.model.clone();
        let weight = &linear(&model, layer)?.weight;
        let (inputs, outputs) = (weight.shape().dims()[0], weight.shape().dims()[1]);
        let rows = x.shape.first().copied().unwrap_or(0);
        for (what, factor, width) in [("x", x, inputs), ("δ", delta, outputs)] {
            if rows == 0 || factor.shape != [rows, width] || factor.as_f32().len() != rows * width {
                let reason = format!("{what} has shape {:?}; expected [{rows}, {width}]", factor.shape);
                return Err(ModelError::invalid(layer.to_string(), reason));
            }
            if let Some(bad) = factor.as_f32().iter().find(|value| !value.is_finite()) {
                let reason = format!("{what} has the value {bad}; all must be finite");
                return Err(ModelError::invalid(layer.to_string(), reason));
            }
        }
        let gpu = model.gpu();
        let x = gpu.upload([rows, inputs], x.as_f32())?;
        let delta = gpu.upload([rows, outputs], delta.as_f32())?;
        let name = format!("{layer}.weight");
        self.apply(&[Factors { name, weight, x: &x, delta: &delta }], scale)
    }

    /// A step down the loss of a trace, straight from its factors: `W ← W − η·xᵀδ` for each of the layers
    /// and, with `biases`, `b ← b − η·Σ_t δ_t`. The trace must have captured both factors of every layer.
    ///
    /// # Errors
    /// When the trace is of another model, a factor was not captured, or η is not finite.
    pub fn descend(
        &mut self,
        trace: &Trace,
        layers: &[LinearLayer],
        eta: f32,
        biases: bool,
    ) -> Result<(), ModelError> {
        if !Arc::ptr_eq(&trace.model().0, &self.model.0) {
            return Err(ModelError::invalid("trace", "is of another model than the one that is edited"));
        }
        let model = self.model.clone();
        let ones = match biases {
            true => {
                let rows = retrograd_formats::TraceRead::meta(trace).ids.len();
                Some(model.gpu().upload([rows, 1], &vec![1.0; rows])?)
            }
            false => None,
        };
        let mut factors = Vec::new();
        for layer in layers {
            let parameters = linear(&model, *layer)?;
            let (input, delta) = layer.factors();
            let (x, delta) = (trace.tensor(input)?, trace.tensor(delta)?);
            factors.push(Factors { name: format!("{layer}.weight"), weight: &parameters.weight, x, delta });
            if let Some(ones) = &ones {
                let (name, weight) = (format!("{layer}.bias"), &parameters.bias);
                factors.push(Factors { name, weight, x: ones, delta });
            }
        }
        self.apply(&factors, -eta)
    }

    fn apply(&mut self, factors: &[Factors<'_>], scale: f32) -> Result<(), ModelError> {
        if !scale.is_finite() {
            return Err(ModelError::invalid("eta", format!("{} is not a finite number", scale.abs())));
        }
        let gpu = self.model.gpu().clone();
        let mut recorder = Recorder::new(&gpu);
        for Factors { name, weight, x, delta } in factors {
            if weight.dtype() == Dtype::F16 {
                self.apply_on_host(name, weight, x, delta, scale)?;
                continue;
            }
            let edited = self.opened(&mut recorder, name, weight)?;
            let product = Gemm::tn(*x, *delta, Matrix::of(&edited)).alpha(scale).accumulate(true);
            ops::gemm(&mut recorder, product)?;
            if weight.is_image() {
                pack(&mut recorder, &edited, weight)?;
            }
        }
        Ok(gpu.run(&recorder.finish()?)?)
    }

    /// The buffer that receives the changes of an f32 weight. The first time, the weight is saved.
    fn opened(&mut self, recorder: &mut Recorder, name: &str, weight: &Tensor) -> Result<Tensor, ModelError> {
        if let Some(Original::Device { edited, changed, .. }) = self.originals.get_mut(name) {
            *changed = true;
            return Ok(edited.clone());
        }
        let gpu = self.model.gpu();
        let saved = gpu.allocate(weight.shape(), Dtype::F32)?;
        let edited = if weight.is_image() {
            ops::unpack(recorder, ops::Unpack { image: weight, first_row: 0, out: &saved })?;
            let edited = gpu.allocate(weight.shape(), Dtype::F32)?;
            recorder.copy(&saved, 0, &edited, 0, saved.len())?;
            edited
        } else {
            recorder.copy(weight, 0, &saved, 0, saved.len())?;
            weight.clone()
        };
        let original = Original::Device { saved, edited: edited.clone(), changed: true };
        self.originals.insert(name.to_owned(), original);
        Ok(edited)
    }

    fn apply_on_host(
        &mut self,
        name: &str,
        weight: &Tensor,
        x: &Tensor,
        delta: &Tensor,
        scale: f32,
    ) -> Result<(), ModelError> {
        let gpu = self.model.gpu().clone();
        if !self.originals.contains_key(name) {
            let saved = gpu.read(weight)?;
            let original = Original::Host { edited: saved.clone(), saved, changed: false };
            self.originals.insert(name.to_owned(), original);
        }
        let Some(Original::Host { edited, changed, .. }) = self.originals.get_mut(name) else {
            return Ok(());
        };
        let (inputs, outputs) = (weight.shape().dims()[0], weight.shape().dims()[1]);
        let (x, delta) = (gpu.read(x)?, gpu.read(delta)?);
        let mut sums = vec![0.0_f64; outputs];
        for (i, row) in edited.chunks_exact_mut(outputs).enumerate() {
            sums.fill(0.0);
            for (x, delta) in x.chunks_exact(inputs).zip(delta.chunks_exact(outputs)) {
                for (sum, delta) in sums.iter_mut().zip(delta) {
                    *sum += f64::from(x[i]) * f64::from(*delta);
                }
            }
            for (value, sum) in row.iter_mut().zip(&sums) {
                *value = (f64::from(*value) + f64::from(scale) * sum) as f32;
            }
        }
        *changed = true;
        let bits = f16_bits(edited);
        if let Some(at) = bits.iter().position(|bits| !half::f16::from_bits(*bits).is_finite()) {
            let reason = format!("element {at} becomes {}, too large for f16: lower eta", edited[at]);
            return Err(ModelError::invalid(name, reason));
        }
        Ok(gpu.write_f16(weight, &bits)?)
    }

    /// Puts every changed weight back as it was, bit for bit. The scope stays open.
    pub fn restore(&mut self) -> Result<(), ModelError> {
        let gpu = self.model.gpu().clone();
        let mut recorder = Recorder::new(&gpu);
        for (name, weight) in self.model.0.parameters.named() {
            match self.originals.get_mut(&name) {
                Some(Original::Device { saved, edited, changed }) if *changed => {
                    recorder.copy(saved, 0, edited, 0, saved.len())?;
                    if weight.is_image() {
                        pack(&mut recorder, saved, weight)?;
                    }
                    *changed = false;
                }
                Some(Original::Host { saved, edited, changed }) if *changed => {
                    // Values that came from f16 go back to the same bits.
                    gpu.write_f16(weight, &f16_bits(saved))?;
                    edited.copy_from_slice(saved);
                    *changed = false;
                }
                _ => {}
            }
        }
        Ok(gpu.run(&recorder.finish()?)?)
    }

    /// Ends the scope and leaves the weights as they are now.
    pub fn keep(mut self) {
        self.originals.clear();
    }

    /// What is changed at the moment, by name.
    pub fn changes(&self) -> Result<Vec<WeightChange>, ModelError> {
        let gpu = self.model.gpu();
        let mut changes = Vec::new();
        let mut recorder = Recorder::new(gpu);
        let (mut names, mut sums) = (Vec::new(), Vec::new());
        for (name, _) in self.model.0.parameters.named() {
            match self.originals.get(&name) {
                Some(Original::Device { saved, edited, changed: true }) => {
                    let difference = gpu.allocate(saved.shape(), Dtype::F32)?;
                    let op = ops::AddScaled { a: edited, b: saved, scale: -1.0, out: &difference };
                    ops::add_scaled(&mut recorder, op)?;
                    let sum = gpu.tensor([2])?;
                    for (out_index, a) in [&difference, saved].into_iter().enumerate() {
                        let squares = ops::WeightedSum { a, b: Some(a), scale: 1.0, out: &sum, out_index };
                        ops::weighted_sum(&mut recorder, squares)?;
                    }
                    names.push(name);
                    sums.push(sum);
                }
                Some(Original::Host { saved, edited, changed: true }) => {
                    let difference = edited.iter().zip(saved).map(|(a, b)| f64::from(*a) - f64::from(*b));
                    let norm = norm(difference);
                    let relative = norm / self::norm(saved.iter().map(|x| f64::from(*x)));
                    changes.push(WeightChange { name, norm, relative });
                }
                _ => {}
            }
        }
        gpu.run(&recorder.finish()?)?;
        for (name, sum) in names.into_iter().zip(&sums) {
            let sum = gpu.read(sum)?;
            let (norm, whole) = (f64::from(sum[0]).sqrt(), f64::from(sum[1]).sqrt());
            changes.push(WeightChange { name, norm, relative: norm / whole });
        }
        Ok(changes)
    }

    /// The weights that are changed at the moment, with their values before and now, on the host.
    pub fn changed_weights(&self) -> Result<Vec<ChangedWeight>, ModelError> {
        let gpu = self.model.gpu();
        let mut changed = Vec::new();
        for (name, _) in self.model.0.parameters.named() {
            let (before, after) = match self.originals.get(&name) {
                Some(Original::Device { saved, edited, changed: true }) => {
                    (gpu.read(saved)?, gpu.read(edited)?)
                }
                Some(Original::Host { saved, edited, changed: true }) => (saved.clone(), edited.clone()),
                _ => continue,
            };
            let shape = Weights::parameter_shape(self.model.config(), &name);
            changed.push(ChangedWeight { name, shape, before, after });
        }
        Ok(changed)
    }
}

impl Drop for WeightEdit {
    fn drop(&mut self) {
        if self.originals.values().any(Original::changed) {
            // Fails only on a device that is lost, and with it the weights.
            let _ = self.restore();
        }
        self.model.0.editing.store(false, Ordering::Release);
    }
}

/// The parameters of a linear layer of a block.
fn linear(model: &Gpt2, layer: LinearLayer) -> Result<&Linear, ModelError> {
    use retrograd_formats::{Layer, LinearKind};
    let LinearLayer::Block(Layer(index), kind) = layer else {
        let reason = "is the embedding of the tokens too: choose linear layers of the blocks";
        return Err(ModelError::invalid(layer.to_string(), reason));
    };
    let blocks = &model.0.parameters.blocks;
    let block = blocks.get(index).ok_or_else(|| {
        let reason = format!("{index} is not a layer of the model, which has 0 to {}", blocks.len() - 1);
        ModelError::invalid("layer", reason)
    })?;
    Ok(match kind {
        LinearKind::CAttn => &block.c_attn,
        LinearKind::AttnProj => &block.attn_proj,
        LinearKind::Fc => &block.c_fc,
        LinearKind::MlpProj => &block.mlp_proj,
    })
}

fn pack(recorder: &mut Recorder, source: &Tensor, image: &Tensor) -> Result<(), ModelError> {
    Ok(ops::pack(recorder, ops::Pack { source: Matrix::of(source), image, first_row: 0 })?)
}

fn f16_bits(values: &[f32]) -> Vec<u16> {
    values.iter().map(|x| half::f16::from_f32(*x).to_bits()).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}
