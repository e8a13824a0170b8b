//! Weights copied from the device to the host.

use crate::ModelError;
use crate::gpt2::Gpt2;
use retrograd_formats::{HostTensor, ParameterRead, RequestError, Weights};
use retrograd_gpu::{Dtype, Recorder, Tensor, ops};

impl Gpt2 {
    /// A parameter as the device has it now, by its canonical HF name (`transformer.h.0.mlp.c_fc.weight`): f16 weights
    /// as they were rounded, edited ones as they are edited.
    ///
    /// # Errors
    /// When the model has no such parameter, or the device fails.
    pub fn parameter(&self, name: &str) -> Result<HostTensor, ModelError> {
        let mut values = Vec::new();
        let mut found = false;
        // A vocabulary matrix lies in several tensors, in the order of its rows.
        for (_, tensor) in self.0.parameters.named().into_iter().filter(|(named, _)| named == name) {
            found = true;
            values.extend(self.read_weight(tensor)?);
        }
        if !found {
            return Err(ModelError::invalid(name, "is not a parameter of the model"));
        }
        Ok(HostTensor::f32(Weights::parameter_shape(self.config(), name), values))
    }

    fn read_weight(&self, weight: &Tensor) -> Result<Vec<f32>, ModelError> {
        let gpu = self.gpu();
        if !weight.is_image() {
            return Ok(gpu.read(weight)?);
        }
        let plain = gpu.allocate(weight.shape(), Dtype::F32)?;
        let mut recorder = Recorder::new(gpu);
        ops::unpack(&mut recorder, ops::Unpack { image: weight, first_row: 0, out: &plain })?;
        gpu.run(&recorder.finish()?)?;
        Ok(gpu.read(&plain)?)
    }
}

impl ParameterRead for Gpt2 {
    fn parameter(&self, name: &str) -> Result<HostTensor, RequestError> {
        Gpt2::parameter(self, name).map_err(|error| match error {
            ModelError::Request(error) => error,
            error => RequestError::invalid(name, error.to_string()),
        })
    }
}
