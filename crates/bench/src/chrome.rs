//! Time lines in the trace-event format, which chrome://tracing and Perfetto show.

use crate::breakdown::short_name;
use retrograd_gpu::KernelTime;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Spans of the host and of the device. Times in the file are microseconds.
#[derive(Clone, Debug)]
pub struct ChromeTrace {
    origin: Instant,
    events: Vec<Event>,
}

/// A span (`ph` X) or the name of a track (`ph` M).
#[derive(Clone, Debug, Serialize)]
struct Event {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cat: Option<&'static str>,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u32,
    tid: u32,
    args: Value,
}

const HOST: u32 = 1;
const DEVICE: u32 = 2;

impl ChromeTrace {
    /// Begins now.
    pub fn new(adapter: &str) -> Self {
        let track = |tid, name: &str| Event {
            name: "thread_name".to_owned(),
            cat: None,
            ph: "M",
            ts: 0.0,
            dur: None,
            pid: 1,
            tid,
            args: json!({ "name": name }),
        };
        ChromeTrace { origin: Instant::now(), events: vec![track(HOST, "host"), track(DEVICE, adapter)] }
    }

    /// What the host did between two moments.
    pub fn host(&mut self, name: &str, start: Instant, duration: Duration) {
        let ts = start.saturating_duration_since(self.origin).as_secs_f64() * 1e6;
        self.span(name.to_owned(), "host", HOST, ts, duration.as_secs_f64() * 1e6, json!({}));
    }

    /// The kernels of a pass that the host began at `start`. The two clocks have no common origin: the first kernel
    /// is put where the host began.
    pub fn kernels(&mut self, start: Instant, times: &[KernelTime]) {
        let origin = start.saturating_duration_since(self.origin).as_secs_f64() * 1e6;
        for (index, time) in times.iter().enumerate() {
            let args = json!({ "kernel": time.kernel, "dispatch": index });
            let ts = origin + time.start_ns / 1e3;
            self.span(short_name(&time.kernel), "kernel", DEVICE, ts, time.duration_ns / 1e3, args);
        }
    }

    fn span(&mut self, name: String, cat: &'static str, tid: u32, ts: f64, dur: f64, args: Value) {
        self.events.push(Event { name, cat: Some(cat), ph: "X", ts, dur: Some(dur), pid: 1, tid, args });
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        json!({ "displayTimeUnit": "ms", "traceEvents": self.events }).to_string()
    }
}
