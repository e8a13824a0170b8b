//! Where it is computed.

use crate::engine::REFERENCE;
use clap::Args;
use retrograd::GpuOptions;

#[derive(Args)]
#[command(next_help_heading = "Device")]
pub(crate) struct DeviceArgs {
    /// Part of an adapter's name, or 'reference' for the f64 oracle on the CPU [default: the best there is]
    #[arg(long, value_name = "NAME")]
    pub(crate) adapter: Option<String>,
    /// Stay within the limits and features that every WebGPU device has
    #[arg(long)]
    pub(crate) default_limits: bool,
    /// Refuse to hold more than this on the device [default: what it has, where that is known]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_limit: Option<u64>,
}

impl DeviceArgs {
    pub(crate) fn is_reference(&self) -> bool {
        self.adapter.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(REFERENCE))
    }

    /// The flags that say the same to another process.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(name) = &self.adapter {
            arguments.extend(["--adapter".to_owned(), name.clone()]);
        }
        if self.default_limits {
            arguments.push("--default-limits".to_owned());
        }
        if let Some(bytes) = self.memory_limit {
            arguments.extend(["--memory-limit".to_owned(), bytes.to_string()]);
        }
        arguments
    }

    pub(crate) fn gpu_options(&self) -> GpuOptions {
        GpuOptions {
            adapter: self.adapter.clone(),
            webgpu_defaults: self.default_limits,
            // As on the GPUs that these limits are for.
            row_lanes: self.default_limits.then_some(64),
            memory_limit: self.memory_limit,
            tuned: retrograd_bench::cache::tuned(),
            ..GpuOptions::default()
        }
    }
}
