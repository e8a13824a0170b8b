//! Whether there is room on the device: asked before weights are loaded and before a pass is built.

use crate::form::Form;
use crate::memory::Changes;
use crate::parameters::{Parameters, Precision, WeightUse};
use crate::program::{Cut, Program, Purpose};
use crate::{Gpt2, ModelError};
use retrograd_formats::{BlockSite, Config, Layer, Site, TraceRequest};
use retrograd_gpu::Gpu;
use std::path::Path;

/// Refuses what does not fit, with what is needed, what there is, and what to do.
pub(crate) fn check(gpu: &Gpu, what: &str, needed: u64, advice: &str) -> Result<(), ModelError> {
    match gpu.available_memory() {
        Some(available) if needed > available => Err(ModelError::OutOfMemory {
            what: what.to_owned(),
            needed,
            available,
            adapter: gpu.adapter().name.clone(),
            advice: advice.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Refuses a model that does not fit.
pub(crate) fn check_model(
    gpu: &Gpu,
    config: &Config,
    untied: bool,
    precision: Precision,
    what: &str,
) -> Result<(), ModelError> {
    if gpu.available_memory().is_none() {
        return Ok(());
    }
    let bytes = |precision| Parameters::bytes(gpu, config, untied, precision, WeightUse::Read);
    let other = "a smaller model, or another --adapter";
    let advice = match precision {
        Precision::F32 => {
            format!(
                "as f16 it takes {} (--precision f16, or --fit); or take {other}",
                size(bytes(Precision::F16)?)
            )
        }
        Precision::F16 => format!("take {other}"),
    };
    check(gpu, what, bytes(precision)?, &advice)
}

/// Refuses a training whose weights, gradients, moments and passes do not fit.
pub(crate) fn check_training(gpu: &Gpu, config: &Config, untied: bool) -> Result<(), ModelError> {
    // Weights, gradients and two moments, in f32 all of them.
    let bytes = 4 * Parameters::bytes(gpu, config, untied, Precision::F32, WeightUse::Update)?;
    let advice = "train a smaller model, or on another --adapter";
    check(gpu, "the training's weights, gradients and moments", bytes, advice)
}

/// A number of bytes as a person would say it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..0xa0_0000 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        0xa0_0000..0x2_8000_0000 => format!("{} MiB", bytes.div_ceil(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64),
    }
}

impl Gpt2 {
    /// Loads a model as [`load`](Gpt2::load) does, in f32 where the device has room for that, else with its matrices in
    /// f16; [`precision`](Gpt2::precision) says which.
    ///
    /// # Errors
    /// As [`load`](Gpt2::load), also where there is no room for f16.
    pub fn load_fitting(gpu: &Gpu, dir: impl AsRef<Path>) -> Result<Gpt2, ModelError> {
        match Gpt2::load(gpu, dir.as_ref(), Precision::F32) {
            Err(error) if error.is_out_of_memory() => Gpt2::load(gpu, dir, Precision::F16),
            loaded => loaded,
        }
    }

    /// The request itself where its pass fits the device; else one that keeps fewer layers, the last ones, and which of
    /// those that were asked for. The loss, and everything that is kept, is the same.
    ///
    /// # Errors
    /// When the request does not fit the model, or the device not even a pass that keeps no layer.
    pub fn fit(&self, request: &TraceRequest) -> Result<(TraceRequest, Option<Vec<Layer>>), ModelError> {
        let objective = request.resolve(self.config())?;
        let form = Form::of(request.ids.len(), &objective);
        let n_layer = self.config().n_layer;
        let mut refusal = None;
        for first in 0..=n_layer {
            let capture = match first {
                0 => request.capture.clone(),
                first => request.capture.clone().from_layer(first, n_layer),
            };
            let purpose = Purpose::Trace(capture);
            let changes = Changes::from(&request.interventions);
            match self.make_room(form, &purpose, changes, Cut::None) {
                Ok(()) if first == 0 => return Ok((request.clone(), None)),
                Ok(()) => {
                    let Purpose::Trace(capture) = purpose else { continue };
                    let any = |layer: &Layer| {
                        BlockSite::ALL.iter().any(|site| capture.keeps(Site::Block(*layer, *site)))
                    };
                    let kept = (0..n_layer).map(Layer).filter(any).collect();
                    return Ok((request.clone().capture(capture), Some(kept)));
                }
                Err(error) if error.is_out_of_memory() => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(match refusal {
            Some(ModelError::OutOfMemory { what, needed, available, adapter, .. }) => {
                ModelError::OutOfMemory {
                    what: format!("{what} that keeps no layer"),
                    needed,
                    available,
                    adapter,
                    advice: match self.precision() {
                        Precision::F32 => "shorten the prompt, or load the weights as f16 (--precision f16)",
                        Precision::F16 => "shorten the prompt, or take another --adapter",
                    }
                    .to_owned(),
                }
            }
            Some(refusal) => refusal,
            None => ModelError::invalid("request", "fits no device"),
        })
    }

    /// Refuses a pass that the device has no room for. Recorded passes at rest are given up before that.
    pub(crate) fn make_room(
        &self,
        form: Form,
        purpose: &Purpose,
        changes: Changes<'_>,
        cut: Cut,
    ) -> Result<(), ModelError> {
        let gpu = self.gpu();
        if gpu.available_memory().is_none() {
            return Ok(());
        }
        let needed = gpu.planned_bytes(|plan| {
            Program::build(plan, self.config(), &self.0.parameters, form, purpose, changes, cut)
        })?;
        let what = format!(
            "a pass over {}{} tokens{}",
            if form.batch > 1 { format!("{} times ", form.batch) } else { String::new() },
            form.context,
            if purpose.backward() { " and back" } else { "" },
        );
        let precision = match self.precision() {
            Precision::F32 => ", or load the weights as f16 (--precision f16); --fit does what is needed",
            Precision::F16 => "",
        };
        let advice = format!(
            "shorten the prompt, keep fewer layers or tensors (Capture; --layers, --sites){precision}"
        );
        check(gpu, &what, needed, &advice).or_else(|_| {
            self.forget_programs();
            check(gpu, &what, needed, &advice)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        assert_eq!(size(1), "1 KiB");
        assert_eq!(size(5 << 20), "5120 KiB");
        assert_eq!(size(10 << 20), "10 MiB");
        assert_eq!(size(64 << 30), "64.0 GiB");
    }
}
