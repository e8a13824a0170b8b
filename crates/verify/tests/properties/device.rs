//! A case on the device: run twice, compared with f64, everything else as it was.

use crate::bounds::Bound;
use crate::rounding::{DEVIATIONS, Rounding};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use retrograd_gpu::{Dtype, Gpu, GpuError, GpuOptions, HostData, Recorder, Tensor};
use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::OnceLock;

/// Cases of an operation, unless PROPTEST_CASES says otherwise.
const CASES: u32 = 32;
/// Beyond, sums of f32 numbers may have overflowed on their way.
const RANGE: f64 = f32::MAX as f64 / 2.0;

/// What a case ends in.
pub(crate) type Outcome = Result<(), TestCaseError>;

/// Runs the cases of an operation, the same in every run; a failure is shrunk and printed.
pub(crate) fn check<S: Strategy>(strategy: S, case: impl Fn(S::Value) -> Outcome)
where
    S::Value: Debug,
{
    let cases = std::env::var_os("PROPTEST_CASES").map_or(CASES, |_| Config::default().cases);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    match runner.run(&strategy, case) {
        Ok(()) => {}
        Err(TestError::Fail(reason, smallest)) => panic!("{reason}\nthe smallest such case: {smallest:?}"),
        Err(aborted) => panic!("{aborted}"),
    }
}

/// The default adapter with the driver's checks on.
pub(crate) fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        Gpu::open(&GpuOptions { checked: true, ..GpuOptions::default() }).expect("an adapter opens")
    })
}

/// One run of a case: its inputs, which must stay as they are.
pub(crate) struct Run {
    pub(crate) gpu: &'static Gpu,
    inputs: RefCell<Vec<(Tensor, Vec<u32>)>>,
}

impl Run {
    /// An input.
    pub(crate) fn input<const N: usize>(&self, dims: [usize; N], values: &[f32]) -> Result<Tensor, GpuError> {
        let tensor = self.gpu.upload(dims, values)?;
        let bits = values.iter().map(|value| value.to_bits()).collect();
        self.inputs.borrow_mut().push((tensor.clone(), bits));
        Ok(tensor)
    }

    /// An input of token ids or flags.
    pub(crate) fn input_u32<const N: usize>(
        &self,
        dims: [usize; N],
        values: &[u32],
    ) -> Result<Tensor, GpuError> {
        let tensor = self.gpu.upload_u32(dims, values)?;
        self.inputs.borrow_mut().push((tensor.clone(), values.to_vec()));
        Ok(tensor)
    }

    /// A tensor that is written to, with something in it that must not shine through.
    pub(crate) fn output<const N: usize>(&self, dims: [usize; N]) -> Result<Tensor, GpuError> {
        self.gpu.upload(dims, &vec![f32::NAN; dims.iter().product()])
    }

    /// Token ids that are written to.
    pub(crate) fn output_u32<const N: usize>(&self, dims: [usize; N]) -> Result<Tensor, GpuError> {
        self.gpu.allocate(dims.into(), Dtype::U32)
    }

    /// Records, runs and waits.
    pub(crate) fn run(
        &self,
        record: impl FnOnce(&mut Recorder) -> Result<(), GpuError>,
    ) -> Result<(), GpuError> {
        let mut recorder = Recorder::new(self.gpu);
        record(&mut recorder)?;
        let pass = recorder.finish()?;
        self.gpu.run(&pass)?;
        self.gpu.wait()
    }
}

/// Runs a case twice, which must give the same bits and leave its inputs alone; what the tensors that it returns hold.
pub(crate) fn twice(
    case: impl Fn(&Run) -> Result<Vec<Tensor>, GpuError>,
) -> Result<Vec<Vec<f32>>, TestCaseError> {
    let once = || -> Result<Vec<Vec<u32>>, TestCaseError> {
        let run = Run { gpu: gpu(), inputs: RefCell::default() };
        let outputs = case(&run).map_err(failed)?;
        for (tensor, before) in run.inputs.borrow().iter() {
            if bits(run.gpu, tensor)? != *before {
                return Err(TestCaseError::fail(format!("an input of shape {} was changed", tensor.shape())));
            }
        }
        outputs.iter().map(|tensor| bits(run.gpu, tensor)).collect()
    };
    let (first, second) = (once()?, once()?);
    if first != second {
        return Err(TestCaseError::fail("the same case gave other bits the second time"));
    }
    Ok(first.into_iter().map(|values| values.into_iter().map(f32::from_bits).collect()).collect())
}

fn failed(error: GpuError) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

fn bits(gpu: &Gpu, tensor: &Tensor) -> Result<Vec<u32>, TestCaseError> {
    match gpu.read_many(&[tensor]).map_err(failed)?.pop() {
        Some(HostData::U32(values)) => Ok(values),
        Some(HostData::F32(values)) => Ok(values.into_iter().map(f32::to_bits).collect()),
        _ => Err(TestCaseError::fail("a tensor that cannot be read")),
    }
}

/// Every value is within its bound: what verification allows of this rounding, relative to the size that the value has
/// before anything is cancelled. Where f32 can hold all numbers on the way, the result is finite.
pub(crate) fn agree(what: &str, found: &[f32], wanted: &[Bound], rounding: Rounding) -> Outcome {
    if found.len() != wanted.len() {
        return Err(TestCaseError::fail(format!("{what}: {} values for {}", found.len(), wanted.len())));
    }
    for (at, (&found, wanted)) in found.iter().zip(wanted).enumerate() {
        // Beyond the range of f32 nothing is promised.
        if wanted.reach.is_nan() || wanted.reach > RANGE {
            continue;
        }
        let allowed = DEVIATIONS * rounding.expected * wanted.size + wanted.floor;
        let difference = (f64::from(found) - wanted.value).abs();
        if difference.is_nan() || difference > allowed {
            let of = found_as(found, difference, allowed);
            return Err(TestCaseError::fail(format!("{what}: element {at} is {of}: {wanted:?}")));
        }
    }
    Ok(())
}

fn found_as(found: f32, difference: f64, allowed: f64) -> String {
    format!("{found:e}, off by {difference:.3e}, allowed are {allowed:.3e}")
}

/// Copies, zeros, what must not be written: the same number; a denormal may have become 0.
pub(crate) fn same(what: &str, found: &[f32], wanted: &[f32]) -> Outcome {
    if found.len() != wanted.len() {
        return Err(TestCaseError::fail(format!("{what}: {} values for {}", found.len(), wanted.len())));
    }
    for (at, (&found, &wanted)) in found.iter().zip(wanted).enumerate() {
        let flushed = found == 0.0 && !wanted.is_normal() && wanted.is_finite();
        if found != wanted && !flushed && !(found.is_nan() && wanted.is_nan()) {
            return Err(TestCaseError::fail(format!(
                "{what}: element {at} is {found:e} instead of {wanted:e}"
            )));
        }
    }
    Ok(())
}
