//! Kernels of the caller's own: what runs, and what is refused.

use retrograd_gpu::ops::{Custom, custom};
use retrograd_gpu::{Gpu, GpuError, GpuOptions, Recorder, Tensor};

const DOUBLED: &str = "
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    x[id.x] = 2.0 * x[id.x];
}";

fn run(gpu: &Gpu, op: Custom<'_>) -> Result<(), GpuError> {
    let mut recorder = Recorder::new(gpu);
    custom(&mut recorder, op)?;
    gpu.run(&recorder.finish()?)
}

fn doubled<'a>(wgsl: &'a str, operands: &'a [&'a Tensor]) -> Custom<'a> {
    Custom { name: "doubled", wgsl, params: &[], operands, workgroups: [1, 1, 1] }
}

#[test]
fn it_runs_without_parameters_and_stays_within_its_operands() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    // Eight invocations for three elements: the driver-side checks keep the others out, though nobody asked for them.
    let x = gpu.upload([3], &[1.0, 2.0, 3.0]).unwrap();
    run(&gpu, doubled(DOUBLED, &[&x])).unwrap();
    assert_eq!(gpu.read(&x).unwrap(), [2.0, 4.0, 6.0]);
}

#[test]
fn two_of_one_name_are_two() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let x = gpu.upload([8], &[1.0; 8]).unwrap();
    run(&gpu, doubled(DOUBLED, &[&x])).unwrap();
    run(&gpu, doubled(&DOUBLED.replace("2.0", "5.0"), &[&x])).unwrap();
    assert_eq!(gpu.read(&x).unwrap(), [10.0; 8]);
}

#[test]
fn what_is_wrong_is_an_error_and_the_device_goes_on() {
    let gpu = Gpu::open(&GpuOptions::default()).unwrap();
    let (x, y) = (gpu.upload([8], &[1.0; 8]).unwrap(), gpu.upload([8], &[0.0; 8]).unwrap());
    let error = run(&gpu, doubled("fn main( {", &[&x])).unwrap_err().to_string();
    assert!(error.contains("doubled"), "{error}");
    let error = run(&gpu, doubled(&DOUBLED.replace("main", "start"), &[&x])).unwrap_err().to_string();
    assert!(error.contains("doubled") && error.contains("main"), "{error}");
    // One operand too many, one too few, parameters that nobody declared.
    assert!(run(&gpu, doubled(DOUBLED, &[&x, &y])).is_err());
    assert!(run(&gpu, doubled(DOUBLED, &[])).is_err());
    assert!(run(&gpu, Custom { params: &[1], ..doubled(DOUBLED, &[&x]) }).is_err());
    let both = DOUBLED
        .replace("@compute", "@group(0) @binding(2) var<storage, read> y: array<f32>;\n@compute")
        .replace("2.0 *", "y[id.x] *");
    let error = run(&gpu, doubled(&both, &[&x, &x])).unwrap_err();
    assert!(matches!(error, GpuError::Aliased { .. }), "{error}");
    let far = run(&gpu, Custom { workgroups: [1 << 20, 1, 1], ..doubled(DOUBLED, &[&x]) }).unwrap_err();
    assert!(matches!(far, GpuError::Unsupported { .. }), "{far}");
    run(&gpu, doubled(DOUBLED, &[&x])).unwrap();
    assert_eq!(gpu.read(&x).unwrap(), [2.0; 8]);
}
