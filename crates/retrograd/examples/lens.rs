use retrograd::lens::{LensOptions, gradient, lens, lens_sites};
use retrograd::{Gpt2, Gpu, GpuOptions, Precision, TextObjective};

/// What a step towards an answer would read and write in every layer, and what one gradient is made of.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    let trace = model.trace(&model.request("The capital of France is", TextObjective::Target(" Rome"))?)?;
    let sites = lens_sites(None, None, model.config().n_layer)?; // x of mlp.c_fc, δ of mlp.c_proj
    let report = lens(&trace, &model, &LensOptions { sites, top: 3, normalize: true }, model.tokenizer())?;
    for entry in report.entries.iter().filter(|entry| entry.position == report.position) {
        let (most, least) = (entry.top[0].token.label(), entry.bottom[0].token.label());
        println!("layer {} {:17} ‖·‖ {:.4}  {most} \\ {least}", entry.layer, entry.site, entry.norm);
    }
    let factors = gradient(&trace, "transformer.h.0.mlp.c_fc".parse()?)?;
    println!("singular values {:.4?}", factors.singular_values()); // one a position
    Ok(())
}
