// Any scalar function of the logits can be differentiated: here the entropy of the answer, H(p) = −Σ p log p. Its gradient
// by the logits is δ = −p ⊙ (log p + H), which starts the backward pass in place of a target.

use retrograd::{Gpt2, Gpu, GpuOptions, Interventions, Objective, Precision, TraceRequest, lens};

fn entropy_and_delta(logits: &[f32]) -> (f64, Vec<f32>) {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let exp: Vec<f64> = logits.iter().map(|l| f64::from(l - largest).exp()).collect();
    let log_sum = exp.iter().sum::<f64>().ln();
    let log_p: Vec<f64> = logits.iter().map(|l| f64::from(l - largest) - log_sum).collect();
    let entropy = -log_p.iter().map(|log_p| log_p.exp() * log_p).sum::<f64>();
    (entropy, log_p.iter().map(|log_p| (-log_p.exp() * (log_p + entropy)) as f32).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    let ids = model.require_tokenizer()?.encode("Q: France\nA:")?; // capital, continent, language, …?
    let (entropy, delta) = entropy_and_delta(&model.logits(&ids, &Interventions::default())?);
    let objective = Objective::Delta { first_position: ids.len() - 1, delta };
    let trace = model.trace(&TraceRequest::new(ids.clone(), objective))?;
    println!("the answer's entropy is {entropy:.3} nats");

    // Which heads is the doubt most sensitive to? To first order, silencing one changes the entropy by −attribution;
    // beside it what silencing it really does.
    for head in lens::rank_heads(&trace)?.iter().take(4) {
        let silenced = Interventions { ablate: [head.id()].into(), patch: None };
        let (without, _) = entropy_and_delta(&model.logits(&ids, &silenced)?);
        println!("{}: ‖R‖ {:.4}, without it {:+.3} nats", head.id(), head.reversed_norm, without - entropy);
    }
    Ok(())
}
