// In a program that must not block, whatever its executor: two prompts at once, and their tensors, awaited.

use retrograd::gpu::GpuError;
use retrograd::{Gpt2, Gpu, GpuOptions, Precision, Site, TextObjective, TraceRead};
use std::sync::Arc;

async fn answer() -> Result<(), Box<dyn std::error::Error>> {
    let gpu: Result<Gpu, GpuError> = Gpu::open_async(GpuOptions::default()).await;
    let model = Gpt2::load_async(&gpu?, "models/atlas", Precision::F32).await?;
    let request = |country: &str, capital| {
        model.request(&format!("The capital of {country} is"), TextObjective::Target(capital))
    };
    // Both run from here on; awaiting one does not hold up the other.
    let (france, italy) =
        (model.trace_async(request("France", " Paris")?), model.trace_async(request("Italy", " Rome")?));
    for trace in [france.await?, italy.await?] {
        let trace = Arc::new(trace);
        let logits = trace.read_all_async(vec![Site::Logits]).await?.remove(0);
        let meta = trace.meta();
        println!("{}: {:?} logits", meta.prompt.as_deref().unwrap_or_default(), logits.shape);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pollster::block_on(answer())
}
