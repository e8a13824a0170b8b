// A derivation of one's own, held to what the device computes: the backward signal of the last block's MLP at the last
// position, derived by hand as  δ = J_LN(r)ᵀ · W_Eᵀ (p − e_target),  in f64 from the trace's own logits and residual stream.

use retrograd::{Gpt2, Gpu, GpuOptions, Precision, TextObjective, TraceRead};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    let request = model.request("The capital of France is", TextObjective::Target(" Paris"))?;
    let target = model.require_tokenizer()?.single_token(" Paris")?.0 as usize;
    let trace = model.trace(&request)?;
    let last_block = model.config().n_layer - 1;

    let logits = trace.read("logits".parse()?)?; // [1, V]
    let residual = trace.read("transformer.ln_f.input".parse()?)?; // [T, D]
    let embedding = model.parameter("transformer.wte.weight")?; // [V, D]
    let gamma = model.parameter("transformer.ln_f.weight")?; // [D]
    let width = model.config().n_embd;
    let r = residual.as_f32().chunks(width).next_back().unwrap_or_default();

    // p − e_target
    let largest = logits.as_f32().iter().copied().fold(f32::MIN, f32::max);
    let exp: Vec<f64> = logits.as_f32().iter().map(|l| f64::from(l - largest).exp()).collect();
    let sum: f64 = exp.iter().sum();
    let error = exp.iter().enumerate().map(|(id, e)| e / sum - f64::from(u8::from(id == target)));

    // W_Eᵀ (p − e), and γ of the layer norm
    let mut g = vec![0.0; width];
    for (e, row) in error.zip(embedding.as_f32().chunks(width)) {
        g.iter_mut().zip(row).for_each(|(g, w)| *g += e * f64::from(*w));
    }
    g.iter_mut().zip(gamma.as_f32()).for_each(|(g, gamma)| *g *= f64::from(*gamma));

    // J_LNᵀ g = (g − mean(g) − x̂·mean(g ⊙ x̂)) / σ
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let r: Vec<f64> = r.iter().map(|r| f64::from(*r)).collect();
    let mu = mean(&r);
    let variance = mean(&r.iter().map(|r| (r - mu).powi(2)).collect::<Vec<_>>());
    let sigma = (variance + model.config().layer_norm_epsilon).sqrt();
    let normal: Vec<f64> = r.iter().map(|r| (r - mu) / sigma).collect();
    let along = mean(&g.iter().zip(&normal).map(|(g, x)| g * x).collect::<Vec<_>>());
    let g_mean = mean(&g);
    let derived: Vec<f64> = g.iter().zip(&normal).map(|(g, x)| (g - g_mean - x * along) / sigma).collect();

    let computed = trace.read(format!("transformer.h.{last_block}.mlp.c_proj.delta").parse()?)?; // [T, D]
    let computed = computed.as_f32().chunks(width).next_back().unwrap_or_default();
    let scale = derived.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let off = derived.iter().zip(computed).map(|(d, c)| (d - f64::from(*c)).abs()).fold(0.0, f64::max);
    println!("the derivation is off by {:.1e} of the largest value", off / scale);
    if off > 1e-4 * scale {
        return Err("the derivation is not what the device computes".into());
    }
    Ok(())
}
