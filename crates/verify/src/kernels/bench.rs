//! Where a case is run and what comes of it.

use crate::Scope;
use crate::report::Finding;
use crate::rounding::Rounding;
use retrograd_gpu::{Gpu, GpuError, Recorder, Tensor};
use std::fmt::Display;

/// A device, and the comparisons made on it so far.
pub(super) struct Bench<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) scope: Scope,
    row: String,
    /// The row of the table, and the comparison.
    pub(super) findings: Vec<(String, Finding)>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(gpu: &'a Gpu, row: String, scope: Scope) -> Self {
        Bench { gpu, scope, row, findings: Vec::new() }
    }

    /// Names the row that comparisons go to from now on; products say by which variant.
    pub(super) fn row(&mut self, name: String) {
        self.row = format!("{name} {}", self.gpu.gemm_variant());
    }

    /// The cases of the scope.
    pub(super) fn cases<T: Copy>(&self, brief: &[T], usual: &[T], full: &[T]) -> Vec<T> {
        let usual = if self.scope >= Scope::Usual { usual } else { &[] };
        let full = if self.scope >= Scope::Full { full } else { &[] };
        brief.iter().chain(usual).chain(full).copied().collect()
    }

    /// Records, runs once and waits.
    pub(super) fn run(
        &self,
        record: impl FnOnce(&mut Recorder) -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        let mut recorder = Recorder::new(self.gpu);
        record(&mut recorder)?;
        let pass = recorder.finish()?;
        self.gpu.run(&pass)?;
        self.gpu.wait()
    }

    /// Compares a tensor with its reference.
    pub(super) fn compare(
        &mut self,
        case: impl Display,
        found: &Tensor,
        wanted: &[f64],
        rounding: Rounding,
    ) -> Result<(), GpuError> {
        let found = self.gpu.read(found)?;
        self.compare_values(case, &found, wanted, rounding);
        Ok(())
    }

    /// Compares values with their reference.
    pub(super) fn compare_values(
        &mut self,
        case: impl Display,
        found: &[f32],
        wanted: &[f64],
        rounding: Rounding,
    ) {
        self.findings.push((self.row.clone(), Finding::new(case, found, wanted, rounding)));
    }

    /// Compares values that must be exactly those wanted: copies, zeros, what must not be written.
    pub(super) fn exactly(&mut self, case: impl Display, found: &[f32], wanted: &[f32]) {
        let wanted: Vec<f64> = wanted.iter().map(|&v| f64::from(v)).collect();
        self.compare_values(case, found, &wanted, Rounding::none());
    }

    /// Checks that T×T maps are 0 above the diagonal.
    pub(super) fn zero_above_diagonal(&mut self, case: impl Display, maps: &[f32], t: usize) {
        let above: Vec<f32> =
            maps.iter().enumerate().filter(|(i, _)| i % t > i / t % t).map(|(_, &v)| v).collect();
        let zeros = vec![0.0; above.len()];
        self.exactly(format!("{case}, above the diagonal"), &above, &zeros);
    }
}
