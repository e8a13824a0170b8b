use retrograd::{Gpt2, Gpu, GpuOptions, Precision, TextObjective, TraceRead, lens};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    let request = model.request("The capital of France is", TextObjective::Target(" Paris"))?;
    let trace = model.trace(&request)?; // one forward and one backward pass, left on the device
    let strongest = lens::rank_heads(&trace)?.remove(0).id();
    for pair in lens::strongest_pairs(&trace, strongest, 3)? {
        println!("{strongest}: R[{}, {}] = {:+.5}", pair.query, pair.key, pair.value);
    }
    let gradient = lens::gradient(&trace, "transformer.h.0.mlp.c_proj".parse()?)?; // x and δ
    println!("loss {:.4}, ‖∂W‖ {:.4}, rank ≤ {}", trace.loss()?, gradient.norm(), gradient.rank_bound());
    Ok(())
}
