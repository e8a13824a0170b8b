//! Parameters on the host, whoever holds them.

use crate::{HostTensor, Project, RequestError};

/// A model that hands out its parameters one at a time: the one on a device, or the f64 oracle. What it hands out is
/// what it computes with: edits included, f16 weights as they were rounded.
pub trait ParameterRead: Project {
    /// A parameter by its canonical HF name, `transformer.h.3.attn.c_proj.weight`, in f32; a linear layer's weight is
    /// `[in, out]`.
    ///
    /// # Errors
    /// When the model has no such parameter, or the device fails.
    fn parameter(&self, name: &str) -> Result<HostTensor, RequestError>;
}
