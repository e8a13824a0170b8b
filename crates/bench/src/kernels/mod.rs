//! Every kernel at the sizes of GPT-2's models: checked against f64, then timed.

mod attention;
mod check;
mod copy;
mod embedding;
mod gemm;
mod loss;
mod norm;
mod optimizer;
mod pack;
mod values;

pub use copy::copy_bandwidth;

use crate::clock::{self, Effort};
use crate::row::round;
use crate::{BenchError, Document, KernelFigures, NamedShape, Progress, Row};
use retrograd_formats::{RequestError, matches_glob};
use retrograd_gpu::ops::GemmVariant;
use retrograd_gpu::{Gpu, GpuOptions, Pass};

/// A kernel at one size, not yet on a device.
pub struct Case {
    /// `layer_norm`; products with form and precision: `gemm/NN/f16`.
    pub kernel: String,
    /// Where it occurs.
    pub site: &'static str,
    /// Its extents.
    pub shape: String,
    /// The model whose sizes it has.
    pub model: NamedShape,
    /// Tokens (T).
    pub length: usize,
    /// Element type of a product's matrix.
    pub precision: &'static str,
    /// Floating-point operations, for products.
    pub flops: Option<u64>,
    /// Bytes that must be read and written at least.
    pub bytes: u64,
    build: Build,
}

/// Uploads operands, records the kernel, runs it once and compares.
type Build = Box<dyn Fn(&Gpu) -> Result<Prepared, BenchError>>;

/// A kernel that has run once and was compared.
pub struct Prepared {
    /// Runs it.
    pub pass: Pass,
    /// Largest error against f64, relative to the largest value.
    pub error: f64,
    /// What rounding may leave.
    pub bound: f64,
}

impl Case {
    /// Whether it is a matrix product, of which there are variants.
    pub fn is_gemm(&self) -> bool {
        self.kernel.starts_with("gemm/")
    }

    /// Its name with the variant that a device uses: `gemm/subgroup/NN/f16`.
    pub fn name(&self, gpu: &Gpu) -> String {
        match self.kernel.strip_prefix("gemm/") {
            Some(rest) => format!("gemm/{}/{rest}", gpu.gemm_variant()),
            None => self.kernel.clone(),
        }
    }

    /// Uploads operands, runs the kernel once and checks what it computed.
    ///
    /// # Errors
    /// When it is wrong: nobody wants to know how fast.
    pub fn prepare(&self, gpu: &Gpu) -> Result<Prepared, BenchError> {
        let prepared = (self.build)(gpu)?;
        if prepared.error.is_nan() || prepared.error > prepared.bound {
            return Err(BenchError::WrongResult {
                kernel: self.name(gpu),
                site: self.site.to_owned(),
                shape: self.shape.clone(),
                adapter: gpu.adapter().name.clone(),
                error: prepared.error,
                bound: prepared.bound,
            });
        }
        Ok(prepared)
    }
}

/// Every kernel at the sizes of a model with T tokens.
pub fn cases(model: NamedShape, length: usize) -> Vec<Case> {
    let config = model.config();
    let at =
        At { model, length, d: config.n_embd, i: config.n_inner, h: config.n_head, v: config.vocab_size };
    let mut cases = gemm::cases(&at);
    cases.extend(attention::cases(&at));
    cases.extend(norm::cases(&at));
    cases.extend(embedding::cases(&at));
    cases.extend(loss::cases(&at));
    cases.extend(optimizer::cases(&at));
    cases.extend(pack::cases(&at));
    cases
}

/// The sizes that cases are made for.
#[derive(Clone, Copy)]
struct At {
    model: NamedShape,
    length: usize,
    d: usize,
    i: usize,
    h: usize,
    v: usize,
}

impl At {
    fn case(
        &self,
        kernel: impl Into<String>,
        site: &'static str,
        shape: String,
        bytes: usize,
        build: impl Fn(&Gpu) -> Result<Prepared, BenchError> + 'static,
    ) -> Case {
        Case {
            kernel: kernel.into(),
            site,
            shape,
            model: self.model,
            length: self.length,
            precision: "f32",
            flops: None,
            bytes: bytes as u64,
            build: Box::new(build),
        }
    }
}

/// What `bench kernels` is asked for.
pub struct KernelsRequest<'a> {
    /// Models whose sizes are used.
    pub models: &'a [NamedShape],
    /// Numbers of tokens.
    pub lengths: &'a [usize],
    /// Only kernels whose name matches one of these, with or without the variant; empty for all.
    pub globs: &'a [String],
    /// One variant, f32 alone, few runs.
    pub quick: bool,
}

impl KernelsRequest<'_> {
    /// The cases that were asked for.
    ///
    /// # Errors
    /// For a pattern that no kernel matches, and for a length that a model has no positions for.
    pub fn cases(&self) -> Result<Vec<Case>, BenchError> {
        let mut all = Vec::new();
        for &model in self.models {
            let positions = model.config().n_positions;
            for &length in self.lengths {
                if !(1..=positions).contains(&length) {
                    let reason =
                        format!("{length} is not between 1 and the {positions} positions of {model}");
                    return Err(RequestError::invalid("--length", reason).into());
                }
                all.extend(cases(model, length));
            }
        }
        if let Some(glob) = self.globs.iter().find(|glob| !all.iter().any(|case| case.is_asked_for(glob))) {
            let mut names: Vec<&str> = all.iter().map(|case| case.kernel.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            let reason = format!("no kernel matches '{glob}'; there are {}", names.join(", "));
            return Err(RequestError::invalid("--kernels", reason).into());
        }
        all.retain(|case| self.globs.is_empty() || self.globs.iter().any(|glob| case.is_asked_for(glob)));
        if self.quick {
            all.retain(|case| case.precision == "f32" || self.globs.iter().any(|glob| glob.contains("f16")));
        }
        Ok(all)
    }
}

impl Case {
    fn is_asked_for(&self, glob: &str) -> bool {
        matches_glob(glob, &self.kernel)
            || self.kernel.strip_prefix("gemm/").is_some_and(|rest| {
                glob == "gemm"
                    || GemmVariant::ALL
                        .iter()
                        .any(|variant| matches_glob(glob, &format!("gemm/{variant}/{rest}")))
            })
    }

    /// Whether the pattern leaves a variant in.
    fn variant_asked_for(&self, globs: &[String], variant: GemmVariant) -> bool {
        globs.is_empty()
            || globs.iter().any(|glob| {
                let rest = self.kernel.strip_prefix("gemm/").unwrap_or_default();
                glob == "gemm"
                    || matches_glob(glob, &self.kernel)
                    || matches_glob(glob, &format!("gemm/{variant}/{rest}"))
            })
    }
}

/// Checks and times the kernels that were asked for, the GEMMs in every variant that the adapter can run (in one,
/// where `options` force it or a quick look is wanted).
pub fn run(
    options: &GpuOptions,
    request: &KernelsRequest<'_>,
    progress: Progress<'_>,
) -> Result<Document, BenchError> {
    let cases = request.cases()?;
    progress("opening the adapter");
    let gpu = Gpu::open(options)?;
    let mut document = Document::new("kernels", &gpu);
    progress("measuring the copy bandwidth");
    let copy = copy_bandwidth(&gpu)?;
    document.copy_gb_per_s = Some(round(copy));
    let effort = if request.quick { Effort::QUICK } else { Effort::FULL };

    let alone = request.quick || options.gemm.is_some();
    let variants: Vec<GemmVariant> = if alone { vec![gpu.gemm_variant()] } else { GemmVariant::ALL.to_vec() };
    for variant in variants {
        if !gpu.capabilities().runs(variant) {
            document
                .notes
                .push(format!("the adapter has no subgroups of one size: gemm/{variant} is left out"));
            continue;
        }
        let chosen: Vec<&Case> = cases
            .iter()
            .filter(|case| case.is_gemm() && (alone || case.variant_asked_for(request.globs, variant)))
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let device = match variant == gpu.gemm_variant() {
            true => gpu.clone(),
            false => Gpu::open(&GpuOptions { gemm: Some(variant), ..options.clone() })?,
        };
        for case in chosen {
            document.rows.push(row(&device, case, effort, copy, progress)?);
        }
    }
    for case in cases.iter().filter(|case| !case.is_gemm()) {
        document.rows.push(row(&gpu, case, effort, copy, progress)?);
    }

    let rate = |row: &Row| row.kernel.as_ref().and_then(|kernel| kernel.gflops);
    let best = document.rows.iter().filter_map(rate).fold(0.0, f64::max);
    if best > 0.0 {
        document.best_gemm_gflops = Some(best);
        for kernel in document.rows.iter_mut().filter_map(|row| row.kernel.as_mut()) {
            kernel.gemm_share = kernel.gflops.map(|rate| round(rate / best));
        }
    }
    Ok(document)
}

fn row(gpu: &Gpu, case: &Case, effort: Effort, copy: f64, progress: Progress<'_>) -> Result<Row, BenchError> {
    let name = case.name(gpu);
    progress(&format!("{name}  {} {} ({})", case.model, case.shape, case.site));
    let prepared = case.prepare(gpu)?;
    let (samples, timer) = clock::time(gpu, &prepared.pass, effort)?;
    // Operands of the next case are of other sizes: their memory would pile up.
    drop(prepared.pass);
    gpu.trim();
    let seconds = samples.median() / 1e3;
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds / 1e9 } else { 0.0 };
    let gb_per_s = per_second(case.bytes);
    let mut row = Row::new(name, case.model.name(), case.length, &samples);
    row.precision = case.precision;
    row.timer = timer;
    row.peak_rss_mb = crate::peak_rss_mb().map(round);
    row.kernel = Some(KernelFigures {
        site: case.site.to_owned(),
        shape: case.shape.clone(),
        gflops: case.flops.map(|flops| round(per_second(flops))),
        gb_per_s: round(gb_per_s),
        gemm_share: None,
        copy_share: round(gb_per_s / copy),
        error: prepared.error,
        bound: prepared.bound,
    });
    Ok(row)
}
