//! Blocking calls awaited by programs that must not block: whatever their executor is, or none.
//!
//! A native driver tells nobody when it has finished: some thread has to wait for it, and compiling kernels, recording a
//! pass and copying a result are work of the CPU besides. So a call that waits is given a thread, and its result a future.

use crate::{Gpu, GpuError, GpuOptions, HostData, Tensor};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

/// The result of a call on a thread of its own; see [`unblock`].
#[must_use = "the call runs, but its result comes to nobody who does not await it"]
pub struct Unblocked<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    outcome: Option<std::thread::Result<T>>,
    waker: Option<Waker>,
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(|error| error.into_inner())
}

/// Runs `work`, which may block, on a thread of its own, and returns a future of its result. It needs no executor in
/// particular and keeps none busy. Work that has begun is finished, also where the future is dropped; where no thread
/// can be started, it is done at once.
///
/// ```
/// use retrograd_gpu::{Gpu, GpuOptions, unblock};
///
/// # pollster::block_on(async {
/// let gpu = Gpu::open_async(GpuOptions::default()).await?;
/// let sum = unblock(move || {
///     let tensor = gpu.upload([3], &[1.0, 2.0, 3.0])?;
///     Ok::<f32, retrograd_gpu::GpuError>(gpu.read(&tensor)?.iter().sum())
/// });
/// assert_eq!(sum.await?, 6.0);
/// # Ok::<(), retrograd_gpu::GpuError>(()) }).unwrap();
/// ```
///
/// # Panics
/// Awaiting it panics where `work` did.
pub fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Unblocked<T> {
    let state = Arc::new(Mutex::new(State { outcome: None, waker: None }));
    let shared = state.clone();
    // Taken by whoever does it: the thread, or this one.
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = work.clone();
    let run = move |shared: &Mutex<State<T>>| {
        let work = theirs.lock().unwrap_or_else(|error| error.into_inner()).take();
        if let Some(work) = work {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            let waker = {
                let mut state = lock(shared);
                state.outcome = Some(outcome);
                state.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    };
    let thread = std::thread::Builder::new().name("retrograd".to_owned());
    let here = run.clone();
    if thread.spawn(move || run(&shared)).is_err() {
        here(&state);
    }
    Unblocked(state)
}

impl<T> Future for Unblocked<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.0);
        match state.outcome.take() {
            Some(Ok(value)) => Poll::Ready(value),
            Some(Err(panic)) => {
                drop(state);
                resume_unwind(panic)
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Gpu {
    /// [`open`](Gpu::open) without blocking.
    ///
    /// # Errors
    /// As [`open`](Gpu::open).
    pub fn open_async(options: GpuOptions) -> Unblocked<Result<Gpu, GpuError>> {
        unblock(move || Gpu::open(&options))
    }

    /// [`read_many`](Gpu::read_many) without blocking.
    ///
    /// # Errors
    /// As [`read_many`](Gpu::read_many).
    pub fn read_many_async(&self, tensors: Vec<Tensor>) -> Unblocked<Result<Vec<HostData>, GpuError>> {
        let gpu = self.clone();
        unblock(move || gpu.read_many(&tensors.iter().collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn the_caller_goes_on_while_it_runs() {
        let (go, wait) = channel::<()>();
        let mut first = unblock(move || wait.recv_timeout(Duration::from_secs(20)).is_ok());
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut first).poll(&mut context).is_pending());
        // A second one overtakes it, and lets it go.
        pollster::block_on(unblock(move || go.send(()))).unwrap();
        assert!(pollster::block_on(first));
    }

    #[test]
    fn a_panic_comes_to_whoever_awaits() {
        let caught = catch_unwind(|| pollster::block_on(unblock(|| -> u32 { panic!("of the work") })));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"of the work"));
    }

    #[test]
    fn futures_are_send() {
        fn send<T: Send>(_: &T) {}
        send(&Gpu::open_async(GpuOptions::default()));
    }
}
