// A kernel of one's own among the engine's: its formula, its f64 twin, the test of one against the other on awkward
// sizes, and its time beside the engine's copy of as many bytes.
//
// softsign: y = x / (1 + |x|). One invocation owns one element; 64 to a workgroup.

use retrograd::gpu::{Recorder, Tensor, ops};
use retrograd::{Gpu, GpuError, GpuOptions};

const SOFTSIGN: &str = "
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;       // (count)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (count)

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * 32768u + group.x) * 64u + lane;
    if (i < params.count) {
        y[i] = x[i] / (1.0 + abs(x[i]));
    }
}";

/// Records `y = x / (1 + |x|)`, element by element.
fn softsign(recorder: &mut Recorder, x: &Tensor, y: &Tensor) -> Result<(), GpuError> {
    let groups = x.len().div_ceil(64) as u32;
    let workgroups = [groups.min(32_768), groups.div_ceil(32_768), 1];
    let params = [x.len() as u32];
    ops::custom(
        recorder,
        ops::Custom { name: "softsign", wgsl: SOFTSIGN, params: &params, operands: &[x, y], workgroups },
    )
}

/// The same in f64.
fn twin(x: f32) -> f64 {
    f64::from(x) / (1.0 + f64::from(x).abs())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    for count in [1, 63, 64, 65, 4097] {
        let values: Vec<f32> = (0..count).map(|i| (i as f32 - 30.0) * 0.37).collect();
        let (x, y) = (gpu.upload([count], &values)?, gpu.tensor([count])?);
        let mut recorder = Recorder::new(&gpu);
        softsign(&mut recorder, &x, &y)?;
        gpu.run(&recorder.finish()?)?;
        let off = gpu
            .read(&y)?
            .iter()
            .zip(&values)
            .map(|(y, x)| (f64::from(*y) - twin(*x)).abs())
            .fold(0.0, f64::max);
        println!("{count:5} elements: off by {off:.1e}");
        // A sum, a division, each of half a unit in the last place of a number below 1; WGSL allows a division 2.5.
        if off > 4.0 * f64::from(f32::EPSILON) {
            return Err("softsign is not what its twin computes".into());
        }
    }

    // Time: interleaved with the engine's own addition of as many elements, the median of several.
    let many = 1 << 20;
    let (x, y) = (gpu.upload([many], &vec![0.5; many])?, gpu.tensor([many])?);
    let (mut own, mut engine) = (Recorder::new(&gpu), Recorder::new(&gpu));
    softsign(&mut own, &x, &y)?;
    ops::add_scaled(&mut engine, ops::AddScaled { a: &x, b: &x, scale: 0.5, out: &y })?;
    let passes = [own.finish()?, engine.finish()?];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..9 {
        for (pass, times) in passes.iter().zip(&mut times) {
            let start = std::time::Instant::now();
            gpu.run(pass)?;
            gpu.wait()?;
            times.push(start.elapsed());
        }
    }
    let [own, engine] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    });
    println!("{many} elements: softsign {own:.2} ms, add_scaled {engine:.2} ms");
    Ok(())
}
