//! Work on a device, from an interpreter that others want and that may have been forked.

use crate::errors::Failure;
use pyo3::prelude::*;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often Ctrl-C is looked for while the device works.
const SIGNALS: Duration = Duration::from_millis(50);

/// The process that first opened a device; 0 as long as none did.
static OPENED_BY: AtomicU32 = AtomicU32::new(0);

/// Something that lies on a device and is of use in the process that made it alone.
pub(crate) struct Owned<T> {
    value: ManuallyDrop<T>,
    process: u32,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Owned { value: ManuallyDrop::new(value), process: std::process::id() }
    }

    /// The value, or an error behind a fork.
    pub(crate) fn get(&self) -> Result<&T, Failure> {
        same_process(self.process)?;
        Ok(&self.value)
    }

    /// The value itself, or an error behind a fork.
    pub(crate) fn into_inner(self) -> Result<T, Failure> {
        same_process(self.process)?;
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, nor dropped.
        #[allow(unsafe_code, reason = "not dropped behind a fork")]
        Ok(unsafe { ManuallyDrop::take(&mut this.value) })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // Behind a fork the driver's threads are gone: freeing what it holds could wait for them for ever.
        if self.process == std::process::id() {
            // SAFETY: nothing reads the value after this: it is being dropped.
            #[allow(unsafe_code, reason = "not dropped behind a fork")]
            unsafe {
                ManuallyDrop::drop(&mut self.value);
            }
        }
    }
}

/// Checks, before a device is opened, that none was opened by a process that this one is a fork of.
pub(crate) fn may_open() -> Result<(), Failure> {
    let here = std::process::id();
    match OPENED_BY.compare_exchange(0, here, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(()),
        Err(opened) => same_process(opened),
    }
}

fn same_process(owner: u32) -> Result<(), Failure> {
    let here = std::process::id();
    if owner == here {
        return Ok(());
    }
    Err(Failure::device(format!(
        "fork: process {here} was forked from process {owner}, which had opened the device, and a device does not survive \
         that: start processes with multiprocessing's 'spawn' (or 'forkserver'), and load the model in each"
    )))
}

/// Runs `work` beside the interpreter, which meanwhile serves other threads and Ctrl-C. Where that comes, the wait ends
/// at once; what the device has begun ends by itself.
pub(crate) fn detached<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = channel();
    let worker = std::thread::Builder::new().name("retrograd".to_owned()).spawn(move || {
        // Nobody waits any more where Ctrl-C was pressed.
        let _ = sender.send(work());
    });
    if let Err(error) = worker {
        return Err(Failure::device(format!("no thread for the work could be started: {error}")).into());
    }
    // mpsc's receiver is no `Sync`; the interpreter is let go around a borrow of it.
    let receiver = std::sync::Mutex::new(receiver);
    loop {
        let received = py.detach(|| {
            let receiver = receiver.lock().unwrap_or_else(|error| error.into_inner());
            receiver.recv_timeout(SIGNALS)
        });
        match received {
            Ok(result) => return Ok(result?),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::device("the work ended without a result; stderr says why").into());
            }
        }
    }
}
