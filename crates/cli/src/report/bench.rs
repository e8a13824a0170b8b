//! What `retrograd bench` measured.

use super::bar::bar;
use super::page::Page;
use super::table::table;
use retrograd_bench::breakdown::{KernelSum, short_name};
use retrograd_bench::{Document, Row, Timer};

/// The page.
pub(crate) fn bench(page: &mut Page, document: &Document) {
    page.heading(&format!("bench {}", document.command), meaning(&document.command));
    let (header, rows): (&[&str], _) = match document.command.as_str() {
        "kernels" => kernels(document),
        "trace" => traces(document),
        "generate" => generations(document),
        "heads" => heads(document),
        "train" => trainings(document),
        "start" => starts(document),
        _ => tunings(document),
    };
    table(page, header, &rows);
    for row in &document.rows {
        let sums = row.trace.as_ref().and_then(|trace| trace.breakdown.as_ref());
        let sums = sums.or(row.train.as_ref().and_then(|train| train.breakdown.as_ref()));
        if let Some(sums) = sums {
            breakdown(page, row, sums);
        }
    }
    page.line("");
    if let (Some(copy), Some(best)) = (document.copy_gb_per_s, document.best_gemm_gflops) {
        page.remark(&format!("best GEMM {} GFLOP/s, copy {} GB/s in this run", figure(best), figure(copy)));
    }
    let checks = if document.checked { "with" } else { "without" };
    page.remark(&format!(
        "{} ({}); gemm/{}; kernels compiled {checks} the driver-side checks",
        document.adapter, document.driver, document.gemm
    ));
    for note in &document.notes {
        page.remark(note);
    }
}

fn meaning(command: &str) -> &'static str {
    match command {
        "kernels" => "medians; every result was checked against f64 before it was timed",
        "trace" => "forward and backward pass, every R, every factor; medians, the first run set apart",
        "heads" => "a forward pass; the ranking of all heads; the effect of silencing each of them",
        "generate" => "greedy, with a cache; the median time between two tokens",
        "train" => "a step: forward, backward, weight gradients, clipping, AdamW; medians",
        "start" => "from the start of a process to its end, its result printed; medians",
        _ => "every variant over the linear layers of one block, forward and backward",
    }
}

type Table = (&'static [&'static str], Vec<Vec<String>>);

fn kernels(document: &Document) -> Table {
    let many = document
        .rows
        .iter()
        .any(|row| row.model != document.rows[0].model || row.length != document.rows[0].length);
    let rows = document.rows.iter().filter_map(|row| {
        let kernel = row.kernel.as_ref()?;
        let sizes = if many { format!("  {} T={}", row.model, row.length) } else { String::new() };
        Some(vec![
            format!("{}  {} ({}){sizes}", row.name, kernel.shape, kernel.site),
            figure(row.median_ms),
            kernel.gflops.map(figure).unwrap_or_default(),
            kernel.gemm_share.map(share).unwrap_or_default(),
            figure(kernel.gb_per_s),
            share(kernel.copy_share),
            figure(row.min_ms),
        ])
    });
    (&["kernel", "ms", "GFLOP/s", "of best", "GB/s", "of copy", "min ms"], rows.collect())
}

fn traces(document: &Document) -> Table {
    let rows = document.rows.iter().filter_map(|row| {
        let trace = row.trace.as_ref()?;
        Some(vec![
            model(row),
            row.length.to_string(),
            trace.batch.to_string(),
            figure(row.median_ms),
            figure(row.min_ms),
            row.first_ms.map(figure).unwrap_or_default(),
            figure(trace.sequences_per_s),
            figure(trace.gflops),
            trace.gemm_time_share.map(share).unwrap_or_default(),
            trace.gemm_gflops.map(figure).unwrap_or_default(),
            row.peak_rss_mb.map(figure).unwrap_or_default(),
        ])
    });
    let header = &[
        "model",
        "T",
        "batch",
        "ms",
        "min",
        "first",
        "a second",
        "GFLOP/s",
        "in GEMMs",
        "at GFLOP/s",
        "peak MiB",
    ];
    (header, rows.collect())
}

fn generations(document: &Document) -> Table {
    let rows = document.rows.iter().filter_map(|row| {
        let generate = row.generate.as_ref()?;
        Some(vec![
            model(row),
            row.length.to_string(),
            generate.tokens.to_string(),
            figure(generate.tokens_per_s),
            figure(row.median_ms),
            figure(row.min_ms),
            figure(generate.prefill_ms),
            row.peak_rss_mb.map(figure).unwrap_or_default(),
        ])
    });
    (&["model", "prompt", "new", "tokens/s", "ms/token", "min", "first token ms", "peak MiB"], rows.collect())
}

fn heads(document: &Document) -> Table {
    let rows = document.rows.iter().filter_map(|row| {
        let heads = row.heads.as_ref()?;
        Some(vec![
            row.name.clone(),
            model(row),
            row.length.to_string(),
            figure(row.median_ms),
            figure(row.min_ms),
            format!("{:.1}×", heads.times_cheaper),
            row.peak_rss_mb.map(figure).unwrap_or_default(),
        ])
    });
    (&["work", "model", "T", "ms", "min", "cheaper", "peak MiB"], rows.collect())
}

fn trainings(document: &Document) -> Table {
    let rows = document.rows.iter().filter_map(|row| {
        let train = row.train.as_ref()?;
        Some(vec![
            model(row),
            format!("{}×{}", train.batch, row.length),
            figure(row.median_ms),
            figure(row.min_ms),
            row.first_ms.map(figure).unwrap_or_default(),
            figure(train.tokens_per_s),
            row.peak_rss_mb.map(figure).unwrap_or_default(),
        ])
    });
    (&["model", "B×T", "ms", "min", "first", "tokens/s", "peak MiB"], rows.collect())
}

fn starts(document: &Document) -> Table {
    let rows = document.rows.iter().filter_map(|row| {
        let start = row.start.as_ref()?;
        Some(vec![
            format!("{}, shader cache {}", row.model, start.cache),
            row.length.to_string(),
            figure(row.median_ms),
            figure(row.min_ms),
            row.runs.to_string(),
        ])
    });
    (&["process", "T", "ms", "min", "runs"], rows.collect())
}

fn tunings(document: &Document) -> Table {
    let rows = document.rows.iter().filter_map(|row| {
        let tune = row.tune.as_ref()?;
        let chosen = if tune.chosen { "→" } else { " " };
        let name = row.name.trim_start_matches("tune/");
        Some(vec![
            format!("{chosen} {name}"),
            figure(row.median_ms),
            figure(tune.gflops),
            row.runs.to_string(),
        ])
    });
    (&["GEMM variant", "ms", "GFLOP/s", "runs"], rows.collect())
}

/// Time by kernel, those of one name and form together.
fn breakdown(page: &mut Page, row: &Row, sums: &[KernelSum]) {
    page.heading(&format!("T = {}", row.length), "time by kernel, each dispatch timed by itself");
    let mut merged: Vec<(String, f64, usize, f64)> = Vec::new();
    for sum in sums {
        let name = short_name(&sum.kernel);
        match merged.iter_mut().find(|(have, ..)| *have == name) {
            Some((_, ms, count, share)) => {
                *ms += sum.ms;
                *count += sum.count;
                *share += sum.share;
            }
            None => merged.push((name, sum.ms, sum.count, sum.share)),
        }
    }
    merged.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rows: Vec<Vec<String>> = merged
        .into_iter()
        .map(|(name, ms, count, part)| {
            vec![name, figure(ms), count.to_string(), share(part), format!("{:<20}", bar(part, 20))]
        })
        .collect();
    table(page, &["kernel", "ms", "dispatches", "share", ""], &rows);
}

fn model(row: &Row) -> String {
    let clock = if row.timer == Timer::Device { ", device clock" } else { "" };
    format!("{}, {}{clock}", row.model, row.precision)
}

/// Three digits, and no fraction beyond.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn share(value: f64) -> String {
    format!("{:.0}%", value * 100.0)
}
