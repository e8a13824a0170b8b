//! The one thread that computes, and the queue before it.

use super::error::{Refusal, ServeError};
use super::job::ServedModel;
use super::request::{Plan, RunRequest};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use retrograd::{Config, RequestError, Tokenizer};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Jobs that wait at most; who comes after them is told to come again.
const QUEUE: usize = 16;
/// A job that takes longer ends at its next stage.
const LONGEST_JOB: Duration = Duration::from_secs(600);

/// Events of a job, one line of JSON each. Dropping it gives the job up.
pub(crate) type Events = UnboundedReceiver<Bytes>;

struct Job {
    plan: Plan,
    events: UnboundedSender<Bytes>,
}

/// The way to the thread that computes.
pub(crate) struct Worker {
    jobs: Mutex<SyncSender<Job>>,
    waiting: Arc<AtomicUsize>,
    asked: Asked,
}

/// The model that is computed with: another one after its device was lost.
struct Current(Mutex<Arc<ServedModel>>);

impl Current {
    fn get(&self) -> Arc<ServedModel> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn set(&self, model: ServedModel) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(model);
    }

    /// The model, on its device or, where that was lost, on one that is opened for this job.
    fn working(&self) -> Result<Arc<ServedModel>, Refusal> {
        let model = self.get();
        if model.is_lost() {
            let again = model.reopen().map_err(|error| {
                let reason = format!("the device was lost and cannot be opened again: {error}");
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "device", reason)
            })?;
            self.set(again);
        }
        Ok(self.get())
    }
}

/// What requests are checked against.
enum Asked {
    Model(Arc<Current>),
    /// A model's shape and tokenizer alone.
    Shape(Box<(Config, Option<Tokenizer>)>),
}

impl Worker {
    pub(crate) fn start(model: ServedModel) -> Result<Worker, ServeError> {
        let (jobs, queue) = sync_channel::<Job>(QUEUE);
        let model = Arc::new(Current(Mutex::new(Arc::new(model))));
        let waiting = Arc::new(AtomicUsize::new(0));
        let (mine, count) = (model.clone(), waiting.clone());
        std::thread::Builder::new()
            .name("jobs".to_owned())
            .spawn(move || {
                for job in queue {
                    // A job that panics takes neither the thread nor the server with it.
                    let run = std::panic::AssertUnwindSafe(|| carry_out(&mine, &job));
                    if std::panic::catch_unwind(run).is_err() {
                        let refusal = Refusal::new(
                            StatusCode::INTERNAL_SERVER_ERROR,
                            "retrograd",
                            "a defect of the program ended this request; please report it",
                        );
                        send(&job.events, &json!({"event": "error", "error": refusal.error()}));
                    }
                    count.fetch_sub(1, Ordering::AcqRel);
                }
            })
            .map_err(ServeError::Runtime)?;
        Ok(Worker { jobs: Mutex::new(jobs), waiting, asked: Asked::Model(model) })
    }

    /// One that checks requests and then computes nothing.
    #[cfg(unix)]
    pub(crate) fn idle(config: Config, tokenizer: Option<Tokenizer>) -> Worker {
        let (jobs, _) = sync_channel(0);
        Worker {
            jobs: Mutex::new(jobs),
            waiting: Arc::default(),
            asked: Asked::Shape(Box::new((config, tokenizer))),
        }
    }

    /// Checks a request and puts it into the queue.
    pub(crate) fn submit(&self, request: RunRequest, max_tokens: usize) -> Result<Events, Refusal> {
        let plan = match &self.asked {
            Asked::Model(model) => {
                let model = model.get();
                request.plan(model.config(), model.tokenizer(), max_tokens)?
            }
            Asked::Shape(shape) => request.plan(&shape.0, shape.1.as_ref(), max_tokens)?,
        };
        let (events, receiver) = unbounded_channel();
        let ahead = self.waiting.fetch_add(1, Ordering::AcqRel);
        send(&events, &json!({"event": "queued", "ahead": ahead}));
        let jobs = self.jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match jobs.try_send(Job { plan, events }) {
            Ok(()) => Ok(receiver),
            Err(error) => {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                let message = match error {
                    TrySendError::Full(_) => "too many requests are waiting: try again in a few seconds",
                    TrySendError::Disconnected(_) => "no more requests are taken",
                };
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "server", message))
            }
        }
    }
}

fn carry_out(current: &Current, job: &Job) {
    let started = Instant::now();
    let mut progress = |stage: &str| {
        if job.events.is_closed() {
            return Err(RequestError::invalid("request", "the client is gone"));
        }
        if started.elapsed() > LONGEST_JOB {
            return Err(RequestError::invalid("request", "took too long and was ended"));
        }
        send(&job.events, &json!({"event": "progress", "stage": stage}));
        Ok(())
    };
    let result = current.working().and_then(|model| {
        let page = model.run(&job.plan, &mut progress).map_err(|refusal| match model.is_lost() {
            // Whatever step it was that noticed: the request is not at fault.
            true => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "device",
                format!("{}; it is opened again for the next request", refusal.message),
            ),
            false => refusal,
        })?;
        progress("packing")?;
        page.pack()
            .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "page", error.to_string()))
    });
    match result {
        Ok(bytes) => send(&job.events, &json!({"event": "result", "data": STANDARD.encode(bytes)})),
        Err(refusal) => send(&job.events, &json!({"event": "error", "error": refusal.error()})),
    }
}

/// Sends an event; where nobody listens any more, it is nobody's.
fn send(events: &UnboundedSender<Bytes>, event: &Value) {
    let _ = events.send(Bytes::from(format!("{event}\n")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrograd::{Gpt2, Gpu, GpuOptions, Precision};

    /// The last event of a request.
    fn outcome(worker: &Worker) -> Value {
        let request =
            serde_json::from_value(json!({"ids": [81, 73, 33], "target_id": 7, "views": ["heads"]}));
        let mut events = worker.submit(request.unwrap(), 32).unwrap();
        let mut last = Bytes::new();
        while let Some(event) = events.blocking_recv() {
            last = event;
        }
        serde_json::from_slice(&last).unwrap()
    }

    #[test]
    fn a_lost_device_is_an_answer_and_the_next_request_gets_another() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/untied");
        let gpu = Gpu::open(&GpuOptions::default()).unwrap();
        let model = Gpt2::load(&gpu, dir, Precision::F32).unwrap();
        let worker = Worker::start(ServedModel::Device(model)).unwrap();
        let right = outcome(&worker);
        assert_eq!(right["event"], "result");

        // Between two requests: nobody notices.
        gpu.destroy();
        assert_eq!(outcome(&worker), right);

        // Under one: the requests that follow each other until it hits are answered with the result or with the loss.
        let Asked::Model(current) = &worker.asked else { panic!("no model") };
        let ServedModel::Device(model) = &*current.get() else { panic!("no device") };
        let gpu = model.gpu().clone();
        assert!(!gpu.is_lost());
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            gpu.destroy();
        });
        for _ in 0..20 {
            let found = outcome(&worker);
            if found["event"] == "error" {
                assert_eq!(found["error"]["what"], "device", "{found}");
                let message = found["error"]["message"].as_str().unwrap();
                assert!(message.contains("was lost while") && message.contains("next request"), "{message}");
            } else {
                assert_eq!(found, right);
            }
        }
        killer.join().unwrap();
        assert_eq!(outcome(&worker), right);
    }
}
