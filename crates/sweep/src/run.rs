//! A table, part by part, into a directory.

use crate::columns::Columns;
use crate::directory::Directory;
use crate::error::SweepError;
use crate::fingerprint;
use crate::measure::Measurer;
use crate::table::Table;
use retrograd_formats::RequestError;
use retrograd_model::Precision;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How a table is gone through.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// The columns.
    pub columns: Columns,
    /// Rows of a part. What is lost when a process dies is at most a part.
    pub part_rows: usize,
    /// Of so many processes (second) that share a table, which this is (first, from 1): it does every so-manieth part.
    pub shard: (usize, usize),
    /// Go on with what is there.
    pub resume: bool,
    /// One prompt a pass, to see what batches are worth.
    pub one_by_one: bool,
}

impl Default for SweepOptions {
    fn default() -> Self {
        SweepOptions {
            columns: Columns::default(),
            part_rows: 4096,
            shard: (1, 1),
            resume: false,
            one_by_one: false,
        }
    }
}

/// A table and a directory that fit together; nothing is written yet.
pub struct Sweep {
    table: Table,
    directory: Directory,
    options: SweepOptions,
    of: Value,
    /// Parts that are to be done.
    parts: Vec<usize>,
    parts_before: usize,
    rows: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct SweepProgress {
    /// Rows that are dealt with, of those that this run is to do.
    pub rows: u64,
    /// Rows that this run is to do.
    pub of: u64,
}

/// The document of `retrograd sweep --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepReport {
    /// `retrograd-sweep/1`.
    pub schema: &'static str,
    /// The model's directory.
    pub model: String,
    /// Rows of the table.
    pub table_rows: u64,
    /// Parts of the table.
    pub table_parts: usize,
    /// Parts of this shard that were finished before.
    pub parts_before: usize,
    /// Parts that this run wrote.
    pub parts: usize,
    /// Rows that it traced.
    pub rows: u64,
    /// Rows that it put aside.
    pub rejected: u64,
    /// Seconds it took, without loading the model.
    pub seconds: f64,
    /// Traced rows a second.
    pub rows_per_second: f64,
    /// Where it was computed.
    pub adapter: String,
}

impl Sweep {
    /// Opens the table and checks that the directory is new, or holds the same run and `resume` is set.
    ///
    /// # Errors
    /// When the table cannot be worked with, or the directory belongs to something else.
    pub fn open(
        table: &Path,
        directory: &Path,
        model: &Path,
        precision: Precision,
        options: SweepOptions,
    ) -> Result<Self, SweepError> {
        let (shard, shards) = options.shard;
        if shard == 0 || shard > shards {
            let reason = format!("{shard}/{shards} is none; the first of {shards} is 1/{shards}");
            return Err(RequestError::invalid("--shard", reason).into());
        }
        if options.part_rows == 0 {
            return Err(RequestError::invalid("--part-rows", "a part of 0 rows has none").into());
        }
        let table = Table::open(table, &options.columns, options.part_rows)?;
        let columns = &options.columns;
        let of = json!({
            "table": {"rows": table.rows(), "fingerprint": table.fingerprint()},
            "model": fingerprint::of_model(model)?,
            "precision": match precision { Precision::F32 => "f32", Precision::F16 => "f16" },
            "part_rows": options.part_rows,
            "columns": {"id": columns.id, "prompt": columns.prompt, "target": columns.target, "prefix": columns.prefix},
            "next_token": columns.next_token,
            "first_token": columns.first_token,
            "lens": columns.lens.0.iter().map(|site| site.suffix()).collect::<Vec<_>>(),
        });
        let own: Vec<usize> = (shard - 1..table.parts()).step_by(shards).collect();
        let directory = Directory::check(directory, &of, &own, options.resume)?;
        let parts: Vec<usize> = own.iter().copied().filter(|part| !directory.has(*part)).collect();
        let rows = parts.iter().map(|part| table.rows_of(*part) as u64).sum();
        let parts_before = own.len() - parts.len();
        Ok(Sweep { table, directory, options, of, parts, parts_before, rows })
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Rows that are to be done.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Does what is to be done. Where `stop` becomes true, the part that is under way is given up.
    ///
    /// # Errors
    /// When the device or the disk fails, another process is at this share, or it was stopped; finished parts stand.
    pub fn run(
        self,
        model: retrograd_model::Gpt2,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(SweepProgress),
    ) -> Result<SweepReport, SweepError> {
        let Sweep { table, directory, options, of, parts, parts_before, rows } = self;
        let measurer = Measurer::new(model, options.columns.clone()).one_by_one(options.one_by_one);
        let adapter = measurer.model().gpu().adapter();
        let driver = format!("{} {}", adapter.driver, adapter.driver_info).trim().to_owned();
        let name = measurer.model().name().to_owned();
        let about = [
            ("retrograd", env!("CARGO_PKG_VERSION").to_owned()),
            ("model", name.clone()),
            ("adapter", adapter.name.clone()),
            ("driver", driver),
        ];
        directory.begin(&of)?;
        let _claim = directory.claim(options.shard)?;
        let start = Instant::now();
        let (mut done, mut traced, mut put_aside, mut written) = (0u64, 0u64, 0u64, 0);
        progress(SweepProgress { rows: 0, of: rows });
        for (finished, part) in parts.iter().enumerate() {
            let interrupted = SweepError::Interrupted { parts: finished, of: parts.len() };
            if stop.load(Ordering::Relaxed) {
                return Err(interrupted);
            }
            if directory.has(*part) {
                // Another process has finished it since it was looked for.
                done += table.rows_of(*part) as u64;
                progress(SweepProgress { rows: done, of: rows });
                continue;
            }
            let rows_of_part = table.part(*part)?;
            let mut more = |count: usize| {
                done += count as u64;
                progress(SweepProgress { rows: done, of: rows });
            };
            let wrong = &rows_of_part.wrong;
            let measured =
                measurer.measure(&rows_of_part.batch, rows_of_part.first_row, wrong, stop, &mut more)?;
            let Some((batch, rejected)) = measured else { return Err(interrupted) };
            directory.write(*part, &batch, &rejected, &about)?;
            written += 1;
            traced += batch.num_rows() as u64;
            put_aside += rejected.len() as u64;
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(SweepReport {
            schema: "retrograd-sweep/1",
            model: name,
            table_rows: table.rows(),
            table_parts: table.parts(),
            parts_before,
            parts: written,
            rows: traced,
            rejected: put_aside,
            seconds,
            rows_per_second: if seconds > 0.0 { traced as f64 / seconds } else { 0.0 },
            adapter: measurer.model().gpu().adapter().to_string(),
        })
    }
}
