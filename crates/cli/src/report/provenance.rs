//! Where a page's numbers come from.

use super::number::bytes;
use super::page::Page;
use crate::engine::Traced;
use std::path::Path;

/// Model, adapter and times.
pub(crate) fn provenance(page: &mut Page, traced: &Traced) {
    let config = &traced.trace.meta().config;
    let dispatches = traced.dispatches.map(|n| format!(", {n} kernels")).unwrap_or_default();
    page.line("");
    page.remark(&format!(
        "{}: {} layers of {} heads, width {}, vocabulary {}",
        traced.trace.meta().model,
        config.n_layer,
        config.n_head,
        config.n_embd,
        config.vocab_size
    ));
    page.remark(&traced.adapter);
    if let Some(fitted) = traced.fitted.describe() {
        page.remark(&fitted);
    }
    page.remark(&format!(
        "loaded in {:.2} s, traced in {:.2} s{dispatches}",
        traced.load_time.as_secs_f64(),
        traced.trace_time.as_secs_f64()
    ));
}

/// The file that was written.
pub(crate) fn written(page: &mut Page, path: &Path, tensors: usize) {
    let size = std::fs::metadata(path).map(|data| format!(", {}", bytes(data.len()))).unwrap_or_default();
    page.line(format_args!("wrote {} ({tensors} tensors{size})", path.display()));
}
