//! What goes wrong without a call that would return it: a device that is lost, and errors outside every error scope.
//!
//! wgpu reports both to callbacks, and does nothing for every call that follows on a lost device. So what the callbacks
//! were told is kept here, and everything that computes, writes or reads asks for it before it calls its result good.

use crate::{Gpu, GpuError};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

/// What a device has reported on its own. The first of each kind stands: what follows is its consequence.
#[derive(Default)]
pub(crate) struct Failures {
    lost: Mutex<Option<String>>,
    uncaptured: Mutex<Option<String>>,
}

fn keep_first(slot: &Mutex<Option<String>>, reason: String) {
    slot.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(reason);
}

fn first(slot: &Mutex<Option<String>>) -> Option<String> {
    slot.lock().unwrap_or_else(|e| e.into_inner()).clone()
}

impl Failures {
    /// Keeps what this device reports from now on.
    pub(crate) fn listen(device: &wgpu::Device) -> Arc<Failures> {
        let failures = Arc::new(Failures::default());
        let kept = failures.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            keep_first(&kept.uncaptured, error.to_string());
        }));
        let kept = failures.clone();
        device.set_device_lost_callback(move |reason, message| {
            keep_first(
                &kept.lost,
                match reason {
                    wgpu::DeviceLostReason::Destroyed => "it was destroyed".to_owned(),
                    wgpu::DeviceLostReason::Unknown if message.is_empty() => "no reason given".to_owned(),
                    wgpu::DeviceLostReason::Unknown => message,
                },
            );
        });
        failures
    }
}

impl Gpu {
    /// Ends this device for all who share it: what is under way is given up, and every later call on it, or on
    /// anything that lies on it, returns [`GpuError::DeviceLost`]. Memory is freed with the next wait. A device that
    /// the driver resets is lost in the same way, which is what this can be used to rehearse.
    ///
    /// Waits for the stretch of a readback that another thread is copying, if one is.
    pub fn destroy(&self) {
        // A copy reads mapped memory, which a lost device gives back.
        let _staging = self.0.staging.lock().unwrap_or_else(|e| e.into_inner());
        keep_first(&self.0.failures.lost, "it was destroyed".to_owned());
        self.0.device.destroy();
    }

    /// Whether the device was lost: nothing more can be done on it.
    pub fn is_lost(&self) -> bool {
        first(&self.0.failures.lost).is_some()
    }

    /// Opens the same adapter with the same options anew, after this device was lost. Tensors do not move over.
    ///
    /// # Errors
    /// As [`Gpu::open`]; also where the adapter is gone from the system.
    pub fn reopen(&self) -> Result<Gpu, GpuError> {
        let description = self.adapter();
        let mut options = self.0.options.clone();
        options.adapter = Some(description.name.clone());
        options.backend = Some(description.backend.clone());
        Gpu::open_with_faults(&options, self.0.faults.clone())
    }

    /// What the device reported on its own, if anything; `during` says what it was asked for.
    pub(crate) fn healthy(&self, during: impl Display) -> Result<(), GpuError> {
        match first(&self.0.failures.lost) {
            Some(reason) => Err(self.lost(during, reason)),
            None => match first(&self.0.failures.uncaptured) {
                Some(reason) => Err(self.device_error(format!("{during}: {reason}"))),
                None => Ok(()),
            },
        }
    }

    /// Submits what was recorded.
    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder, during: &str) -> Result<(), GpuError> {
        self.healthy(during)?;
        self.0.queue.submit([encoder.finish()]);
        self.healthy(during)
    }

    /// Waits until everything submitted is done.
    pub(crate) fn poll(&self, during: &str) -> Result<(), GpuError> {
        self.healthy(during)?;
        let device = &self.0.device;
        // wgpu 30 panics where waiting itself fails, as it does when a driver resets the device under a pass.
        let polled = catch_unwind(AssertUnwindSafe(|| device.poll(wgpu::PollType::wait_indefinitely())));
        self.healthy(during)?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.device_error(format!("{during}: {error}"))),
            Err(panic) => {
                let reason = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                let reason = reason.unwrap_or_else(|| "waiting failed".to_owned());
                keep_first(&self.0.failures.lost, reason.clone());
                Err(self.lost(during, reason))
            }
        }
    }

    /// The error for something that failed at the call: the device's loss where that is behind it.
    pub(crate) fn failed(&self, during: impl Display, reason: impl Display) -> GpuError {
        match first(&self.0.failures.lost) {
            Some(lost) => self.lost(during, lost),
            None => self.device_error(format!("{during}: {reason}")),
        }
    }

    /// Creates something on the device; what the driver or wgpu refuses becomes an error. `bytes` is its size.
    pub(crate) fn create<T>(
        &self,
        what: impl Display,
        bytes: u64,
        make: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T, GpuError> {
        let during = format!("allocating {what}");
        self.healthy(&during)?;
        let device = &self.0.device;
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let made = make(device);
        // Scopes end in the reverse order; what they caught is there already, so that nothing waits.
        let memory = pollster::block_on(memory.pop());
        let other = pollster::block_on(internal.pop()).or(pollster::block_on(validation.pop()));
        self.healthy(&during)?;
        if memory.is_some() {
            return Err(GpuError::AllocationFailed {
                what: what.to_string(),
                needed_mib: bytes.div_ceil(1 << 20),
                held_mib: self.arena_stats().bytes_held >> 20,
                adapter: self.adapter().name.clone(),
            });
        }
        match other {
            Some(error) => Err(self.failed(during, error)),
            None => Ok(made),
        }
    }

    fn lost(&self, during: impl Display, reason: String) -> GpuError {
        GpuError::DeviceLost { adapter: self.adapter().name.clone(), during: during.to_string(), reason }
    }

    pub(crate) fn device_error(&self, reason: String) -> GpuError {
        GpuError::Device { adapter: self.adapter().name.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Gpu, GpuError, GpuOptions};

    /// More than any device's buffer may have.
    const TOO_MANY_BYTES: u64 = 1 << 60;

    fn buffer(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE;
        device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    }

    #[test]
    fn what_only_a_callback_is_told_is_returned_by_whatever_comes_next() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let tensor = gpu.upload([4], &[1.0; 4]).unwrap();
        buffer(&gpu.0.device, TOO_MANY_BYTES);
        for error in [
            gpu.read(&tensor).unwrap_err(),
            gpu.write(&tensor, &[2.0; 4]).unwrap_err(),
            gpu.upload([4], &[1.0; 4]).unwrap_err(),
            gpu.wait().unwrap_err(),
        ] {
            assert!(
                matches!(&error, GpuError::Device { reason, .. } if reason.contains("1152921504606846976")),
                "{error}"
            );
        }
    }

    #[test]
    fn what_a_scope_catches_is_returned_once() {
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let refused = gpu.create("a buffer", TOO_MANY_BYTES, |device| buffer(device, TOO_MANY_BYTES));
        let refused = refused.map(|_| ()).unwrap_err().to_string();
        assert!(refused.contains("a buffer"), "{refused}");
        let tensor = gpu.upload([4], &[1.0; 4]).unwrap();
        assert_eq!(gpu.read(&tensor).unwrap(), [1.0; 4]);
    }
}
