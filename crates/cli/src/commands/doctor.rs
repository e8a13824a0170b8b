//! `retrograd doctor`

use crate::args::DeviceArgs;
use crate::error::CliError;
use crate::output::{print_json, print_styled};
use crate::progress::Spinner;
use crate::report::{self, Diagnosis, Page};
use clap::Args;
use retrograd::Gpu;
use retrograd::formats::{AtomicDir, write_atomic};
use retrograd::gpu::{dump_shaders, enumerate_adapters};
use retrograd::self_test;
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args)]
pub(crate) struct DoctorCommand {
    /// Write every shader exactly as it is compiled into this directory, which must be new or empty
    #[arg(long, value_name = "DIR")]
    dump_shaders: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A file a shader, all or none of them.
pub(super) fn write_shaders(
    out: AtomicDir,
    shaders: impl IntoIterator<Item = (String, String)>,
) -> Result<(), CliError> {
    for (name, text) in shaders {
        write_atomic(&out.path().join(name), text.as_bytes())?;
    }
    Ok(out.commit()?)
}

impl DoctorCommand {
    pub(crate) fn run(self) -> Result<(), CliError> {
        let out = self.dump_shaders.as_deref().map(AtomicDir::new).transpose()?;
        let spinner = Spinner::new("looking for adapters".to_owned());
        let adapters = enumerate_adapters();
        let gpu = Gpu::open(&self.device.gpu_options())?;
        spinner.say("testing".to_owned());
        let start = Instant::now();
        let test = self_test::run(&gpu)?;
        let diagnosis = Diagnosis::new(&self.device, adapters, &gpu, &test, start.elapsed());
        let mut shaders = 0;
        if let Some(out) = out {
            spinner.say("compiling every shader".to_owned());
            self_test::compile_all(&gpu)?;
            let texts = dump_shaders(&gpu)?;
            shaders = texts.len();
            write_shaders(out, texts)?;
        }
        drop(spinner);
        if self.json {
            print_json(&diagnosis)?;
        } else {
            let mut page = Page::new();
            report::doctor(&mut page, &diagnosis);
            if let Some(dir) = &self.dump_shaders {
                page.line(format_args!("\nwrote {shaders} shaders to {}", dir.display()));
            }
            print_styled(&page.finish())?;
        }
        match test.worst() {
            Some(worst) if !test.passed() => Err(CliError::OutsideTolerance(format!(
                "self-test: {} is off by {:.1e} of its largest value, more than {:.0e}: this driver does not \
                 compute what it should; try another with --adapter, or --adapter reference",
                worst.site,
                worst.relative,
                self_test::TOLERANCE
            ))),
            _ => Ok(()),
        }
    }
}
