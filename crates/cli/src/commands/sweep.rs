//! `retrograd sweep`

use crate::args::ModelArgs;
use crate::engine::{Engine, ModelFiles};
use crate::error::CliError;
use crate::interrupt;
use crate::output::{print_json, print_styled};
use crate::progress::{Counted, Spinner};
use crate::report::{self, Page};
use clap::Args;
use retrograd_sweep::{Columns, LensColumns, Sweep, SweepOptions};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  retrograd sweep prompts.jsonl --out results
  retrograd sweep prompts.csv --out results --lens mlp.c_proj.delta,resid_post
  retrograd sweep prompts.parquet --out results --resume
  parallel retrograd sweep prompts.parquet --out results --shard {}/8 ::: 1 2 3 4 5 6 7 8

A table has a column 'prompt' (text) or 'ids' (token ids), and 'target' (a text of one token), 'target_id' or
'completion' (a text whose tokens carry the loss); all of its columns are carried along. 'id' names the rows; without,
their number does. Results are part-*.parquet in the directory, beside part-*.rejects.jsonl with the rows that could not
be traced and why; docs/file-formats.md describes the columns.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SweepCommand {
    /// The table: .jsonl, .csv or .parquet
    #[arg(value_name = "TABLE")]
    table: PathBuf,
    /// Directory for the results; processes with other --shard share it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with what the directory has: finished parts are not done again
    #[arg(long)]
    resume: bool,
    /// Do the I-th of N equal shares of the table, as one of N processes
    #[arg(long, value_name = "I/N", value_parser = shard, default_value = "1/1")]
    shard: (usize, usize),
    /// Rows of a part: what is lost at most when a process dies
    #[arg(long, value_name = "N", default_value_t = 4096)]
    part_rows: usize,
    /// Mean loss of every next token of the prompt; no target is read
    #[arg(long)]
    next_token: bool,
    /// Take the first token of targets of several tokens instead of putting the row aside
    #[arg(long)]
    first_token: bool,
    /// Read these tensors in the vocabulary too, in every layer at the last position that carries loss:
    /// mlp.c_proj.delta,resid_post
    #[arg(long, value_name = "SITES")]
    lens: Option<String>,
    /// Column with the rows' names
    #[arg(long, value_name = "NAME", default_value = "id")]
    id_column: String,
    /// Column with the prompts
    #[arg(long, value_name = "NAME", default_value = "prompt")]
    prompt_column: String,
    /// Column with the targets
    #[arg(long, value_name = "NAME", default_value = "target")]
    target_column: String,
    /// Put this before the names of the columns with results
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// One prompt a pass instead of batches, to see what these are worth
    #[arg(long)]
    one_by_one: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

fn shard(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(shard, of)| Some((shard.parse().ok()?, of.parse().ok()?)));
    match parsed {
        Some((shard, of)) if 1 <= shard && shard <= of => Ok((shard, of)),
        _ => Err("is not the I-th of N shares, as in 1/4 to 4/4".to_owned()),
    }
}

impl SweepCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        if self.model.device.is_reference() {
            return Err(CliError::Failed(
                "--adapter reference: serves single traces; a sweep needs a device ('retrograd doctor' lists them)"
                    .to_owned(),
            ));
        }
        let lens = self.lens.as_deref().map(LensColumns::parse).transpose()?.unwrap_or_default();
        let columns = Columns {
            id: self.id_column,
            prompt: self.prompt_column,
            target: self.target_column,
            next_token: self.next_token,
            first_token: self.first_token,
            prefix: self.prefix,
            lens,
        };
        let options = SweepOptions {
            columns,
            part_rows: self.part_rows,
            shard: self.shard,
            resume: self.resume,
            one_by_one: self.one_by_one,
        };
        let files = ModelFiles::open(&self.model)?;
        // Everything that is wrong with the table and the directory is said before the model is loaded.
        let spinner = Spinner::new(format!("reading {}", self.table.display()));
        let sweep = Sweep::open(&self.table, &self.out, &files.dir, self.model.precision, options)?;
        spinner.say(format!("loading {}", files.dir.display()));
        let Engine::Device(model) = Engine::open(&self.model, &files)? else {
            return Err(CliError::Failed("--adapter: a sweep needs a device".to_owned()));
        };
        drop(spinner);
        let stop = interrupt::flag()?;
        let mut bar = Counted::new("rows", usize::try_from(sweep.rows()).unwrap_or(usize::MAX));
        let report = sweep.run(model, &stop, &mut |progress| {
            bar.at(usize::try_from(progress.rows).unwrap_or(usize::MAX));
        })?;
        drop(bar);
        if self.json {
            return print_json(&report);
        }
        let mut page = Page::new();
        report::sweep(&mut page, &report, &self.out);
        print_styled(&page.finish())
    }
}
