//! What can go wrong on a device, each with what to do about it.

use crate::Shape;

/// An error of the engine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No driver offers an adapter.
    #[error(
        "no Vulkan, Metal, DX12 or GL adapter was found (tried: {tried}). Install a driver; a software one will do: \
         'apt-get install mesa-vulkan-drivers' on Debian and Ubuntu, 'dnf install mesa-vulkan-drivers' on Fedora. \
         Without any, '--adapter reference' computes in f64 on the CPU"
    )]
    NoAdapter {
        /// Backends that were asked.
        tried: String,
    },
    /// No adapter has the wanted name.
    #[error("no adapter's name contains '{wanted}'; there are: {found}")]
    UnknownAdapter {
        /// What was asked for.
        wanted: String,
        /// The names of those there are.
        found: String,
    },
    /// `WGPU_BACKEND` (or the option) names no backend.
    #[error("'{wanted}' is not a backend; choose from vulkan, metal, dx12, gl")]
    UnknownBackend {
        /// What was asked for.
        wanted: String,
    },
    /// The driver refused to open the adapter.
    #[error("adapter '{adapter}' could not be opened: {reason}")]
    DeviceRefused {
        /// The adapter's name.
        adapter: String,
        /// What the driver said.
        reason: String,
    },
    /// A buffer would exceed what the device can hold or bind.
    #[error("{what} needs {needed} bytes, but adapter '{adapter}' allows {limit} ({limit_name})")]
    TooLarge {
        /// What was to be allocated.
        what: String,
        /// Its size.
        needed: u64,
        /// The limit.
        limit: u64,
        /// The limit's name.
        limit_name: &'static str,
        /// The adapter.
        adapter: String,
    },
    /// The device's memory is exhausted.
    #[error("{what} needs {needed_mib} MiB, but only {available_mib} MiB are free on '{adapter}'")]
    OutOfMemory {
        /// What was to be allocated.
        what: String,
        /// Its size in MiB.
        needed_mib: u64,
        /// What is left in MiB.
        available_mib: u64,
        /// The adapter.
        adapter: String,
    },
    /// An operand does not have the shape that an operation needs.
    #[error("{op}: {operand} has shape {found}, expected {expected}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// Which operand.
        operand: &'static str,
        /// Its shape.
        found: Shape,
        /// What would be right.
        expected: String,
    },
    /// An operand does not have the element type that an operation needs.
    #[error("{op}: {operand} has the wrong element type; {expected}")]
    Dtype {
        /// The operation.
        op: &'static str,
        /// Which operand.
        operand: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// An operand is an image where a buffer is needed, or the other way round.
    #[error(
        "{op}: {operand} lies in the wrong kind of memory; expected {expected} (see ops::pack and ops::unpack)"
    )]
    Layout {
        /// The operation.
        op: &'static str,
        /// Which operand.
        operand: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// One tensor is both read and written, or written twice, by one kernel.
    #[error(
        "{op}: the tensor {found} that receives the result is an operand too; give the result a tensor of its own"
    )]
    Aliased {
        /// The operation.
        op: &'static str,
        /// The tensor's shape.
        found: Shape,
    },
    /// A shape is beyond what the kernel supports on every driver.
    #[error("{op}: {reason}")]
    Unsupported {
        /// The operation.
        op: &'static str,
        /// Which extent is too large and what the bound is.
        reason: String,
    },
    /// A kernel does not compile: a bug in Retrograd or in the driver.
    #[error("kernel '{kernel}' does not compile on '{adapter}': {reason}")]
    Kernel {
        /// The kernel and its variant.
        kernel: String,
        /// The adapter.
        adapter: String,
        /// The compiler's message.
        reason: String,
    },
    /// The driver has no room, whatever the adapter's figures said.
    #[error(
        "{what} needs {needed_mib} MiB, which the driver of '{adapter}' does not have beside the {held_mib} MiB held \
         already; ask for less, or end what else uses the device"
    )]
    AllocationFailed {
        /// What was to be allocated.
        what: String,
        /// Its size in MiB.
        needed_mib: u64,
        /// What this program holds on the device, in MiB.
        held_mib: u64,
        /// The adapter.
        adapter: String,
    },
    /// The device failed.
    #[error("device '{adapter}' failed: {reason}")]
    Device {
        /// The adapter.
        adapter: String,
        /// What it was doing, and what the driver said.
        reason: String,
    },
    /// The device is gone, and everything on it: it was reset, taken away or destroyed.
    #[error(
        "device '{adapter}' was lost while {during}: {reason}. Nothing on it can be read any more: open it again \
         (run the command again); if it is lost again, the system's log says why the driver gave it up"
    )]
    DeviceLost {
        /// The adapter.
        adapter: String,
        /// What was being done.
        during: String,
        /// What the driver said.
        reason: String,
    },
}

impl GpuError {
    /// Whether the device is gone and must be opened again: see [`Gpu::reopen`](crate::Gpu::reopen).
    pub fn is_device_lost(&self) -> bool {
        matches!(self, GpuError::DeviceLost { .. })
    }

    /// Whether there was not enough memory on the device.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, GpuError::OutOfMemory { .. } | GpuError::AllocationFailed { .. })
    }
}
