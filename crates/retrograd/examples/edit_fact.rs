use retrograd::lens::edit::{EditPlan, Fact, apply};
use retrograd::{Gpt2, Gpu, GpuOptions, Precision};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    let fact = Fact::from_text(model.require_tokenizer()?, "The capital of France is", " Rome")?;
    let mut edit = model.edit()?; // the weights are restored when this is dropped
    // W2 ← W2 + η·x_nᵀ·wte[" Rome"] in layer 1: one forward pass, no backward pass
    let outcome = apply(&mut edit, &fact, &EditPlan::shift(1, 0.5))?;
    for (when, effect) in [("before", outcome.before), ("after", outcome.after)] {
        let answer = effect.answer.token.text.unwrap_or_default();
        println!("{when}: '{answer}', p(' Rome') = {:.3}", effect.target_probability);
    }
    for change in edit.changes()? {
        println!("{}: ‖ΔW‖ = {:.3}", change.name, change.norm);
    }
    Ok(())
}
