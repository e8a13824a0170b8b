// The engine and the model alone, without tokenizer, lens, training or oracle: tokens are given by their ids.
// `cargo run -p retrograd --no-default-features --example embed_ids`

use retrograd::{
    BlockSite, Gpt2, Gpu, GpuOptions, Layer, Objective, Precision, Site, TokenId, TraceRead, TraceRequest,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::open(&GpuOptions::default())?;
    let model = Gpt2::load(&gpu, "models/atlas", Precision::F32)?;
    let ids = [266, 381, 292, 1047, 264].map(TokenId).to_vec(); // The capital of France is
    let trace = model.trace(&TraceRequest::new(ids, Objective::Target(TokenId(2050))))?; // Paris
    println!("loss {:.4}", trace.loss()?);
    for layer in 0..model.config().n_layer {
        let reversed = trace.read(Site::Block(Layer(layer), BlockSite::Reversed))?; // [H, T, T]
        println!("layer {layer}: ‖R‖ of its heads together {:.5}", reversed.norm());
    }
    Ok(())
}
