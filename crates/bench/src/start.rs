//! A process, from its start to its printed result.

use crate::{BenchError, Document, Progress, Row, Samples, StartFigures};
use retrograd_gpu::{Gpu, GpuOptions};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What `bench start` is asked for.
#[derive(Clone, Debug)]
pub struct StartBench {
    /// The program.
    pub program: PathBuf,
    /// Arguments that make it trace a prompt and print one JSON document with `tokens` and `loss`.
    pub arguments: Vec<String>,
    /// The model's name, for the rows.
    pub model: String,
    /// Runs each.
    pub runs: usize,
}

/// Variables with which drivers keep no compiled shaders: Mesa's, NVIDIA's.
const NO_SHADER_CACHE: [(&str, &str); 2] =
    [("MESA_SHADER_CACHE_DISABLE", "true"), ("__GL_SHADER_DISK_CACHE", "0")];

impl StartBench {
    /// Runs the program with the driver's shader cache as it is left by a run before, and without, in turn.
    pub fn run(&self, options: &GpuOptions, progress: Progress<'_>) -> Result<Document, BenchError> {
        let mut document = Document::new("start", &Gpu::open(options)?);
        progress("filling the driver's shader cache");
        self.once(false)?;
        let (mut warm, mut cold) = (Vec::new(), Vec::new());
        let mut length = 0;
        for run in 1..=self.runs {
            for (without, times) in [(false, &mut warm), (true, &mut cold)] {
                let state = if without { "without" } else { "with" };
                progress(&format!("{state} a shader cache, run {run} of {}", self.runs));
                let (ms, tokens) = self.once(without)?;
                times.push(ms);
                length = tokens;
            }
        }
        let rows = [("warm", warm), ("cold", cold)].map(|(cache, times)| {
            let mut row = Row::new("start", self.model.clone(), length, &Samples::alike(times));
            row.start = Some(StartFigures { cache });
            row
        });
        document.rows.extend(rows);
        Ok(document)
    }

    /// Milliseconds until it had ended, and the tokens it says it traced.
    fn once(&self, without_cache: bool) -> Result<(f64, usize), BenchError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        if without_cache {
            command.envs(NO_SHADER_CACHE);
        }
        let start = Instant::now();
        let output = command.output().map_err(|error| self.failed(error.to_string(), String::new()))?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let stderr =
            String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or_default().to_owned();
        if !output.status.success() {
            return Err(self.failed(output.status.to_string(), stderr));
        }
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match (document["tokens"].as_array(), document["loss"].as_f64()) {
            (Some(tokens), Some(_)) => Ok((ms, tokens.len())),
            _ => Err(self.failed("no trace on its standard output".to_owned(), stderr)),
        }
    }

    fn failed(&self, status: String, stderr: String) -> BenchError {
        BenchError::Child { program: Path::new(&self.program).to_owned(), status, stderr }
    }
}
