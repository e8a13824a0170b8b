//! Values that were published for real weights. They are checked where `RETROGRAD_GPT2_DIR` or
//! `RETROGRAD_GPT2_XL_DIR` name a Hugging Face directory of the model; elsewhere the tests say that they were skipped.

use crate::gpu;
use retrograd::lens::{LensOptions, lens, lens_sites, rank_heads};
use retrograd::{Gpt2, Precision, TextObjective, TraceRead};

/// The directory, or a line that says what was not checked.
fn directory(variable: &str, what: &str) -> Option<std::path::PathBuf> {
    let directory = std::env::var_os(variable).map(Into::into);
    if directory.is_none() {
        eprintln!("skipped: {what}: set {variable} to a directory with its weights");
    }
    directory
}

/// δ of `mlp.c_proj` at the last token of "Obama grew up in" → " Paris" in GPT-2 small.
#[test]
fn backward_lens_of_gpt2_small() {
    let Some(directory) = directory("RETROGRAD_GPT2_DIR", "the Backward Lens of GPT-2 small") else { return };
    const NORMS: [f64; 12] =
        [0.1152, 0.1888, 0.2457, 0.2588, 0.2834, 0.2969, 0.3333, 0.3002, 0.2762, 0.2441, 0.2107, 0.1932];
    const RANKS: [usize; 12] =
        [49593, 50250, 50243, 50255, 50255, 50255, 50256, 50256, 50256, 50256, 50255, 50255];
    let model = Gpt2::load(gpu(), directory, Precision::F32).unwrap();
    let request = model.request("Obama grew up in", TextObjective::Target(" Paris")).unwrap();
    let trace = model.trace(&request).unwrap();
    assert!((trace.loss().unwrap() - 7.4214015).abs() < 1e-4);
    let sites = lens_sites(Some("mlp.c_proj.delta"), None, 12).unwrap();
    let options = LensOptions { sites, top: 5, normalize: false };
    let report = lens(&trace, &model, &options, model.tokenizer()).unwrap();
    assert_eq!(report.answer.token.text.as_deref(), Some(" a"));
    for (layer, row) in report.tables()[0].rows().enumerate() {
        let last = row.last().unwrap();
        // Given to four digits.
        assert!((last.norm - NORMS[layer]).abs() < 6e-5, "norm in layer {layer}: {}", last.norm);
        assert_eq!(last.target_rank, Some(RANKS[layer]), "rank in layer {layer}");
        if layer == 11 {
            for entry in &row[..row.len() - 1] {
                assert_eq!((entry.norm, entry.target_rank), (0.0, Some(2913)));
            }
        }
    }
}

/// Frobenius norms of Reversed Attention in GPT-2 XL.
#[test]
fn reversed_attention_of_gpt2_xl() {
    let Some(directory) = directory("RETROGRAD_GPT2_XL_DIR", "the heads of GPT-2 XL") else { return };
    const HEADS: [(usize, usize, f64); 7] = [
        (30, 8, 0.023333),
        (35, 19, 0.018387),
        (31, 6, 0.014737),
        (24, 4, 0.011926),
        (32, 7, 0.010773),
        (39, 10, 0.010612),
        (34, 7, 0.010201),
    ];
    let model = Gpt2::load(gpu(), directory, Precision::F32).unwrap();
    let prompt = "I like Italy and France. I visited the city of";
    let request = model.request(prompt, TextObjective::Target(" Florence")).unwrap();
    let heads = rank_heads(&model.trace(&request).unwrap()).unwrap();
    for (found, (layer, head, norm)) in heads.iter().zip(HEADS) {
        assert_eq!((found.layer, found.head), (layer, head));
        assert!((found.reversed_norm - norm).abs() < 2e-6, "L{layer}H{head}: {}", found.reversed_norm);
    }
}
