//! Every operation of the engine on random shapes and hostile values: zeros of both signs, denormals, ±1e30, ties, magnitudes
//! far apart. It must agree with its twin in f64 within the rounding that verification allows, give the same bits twice and
//! leave everything else alone. PROPTEST_CASES=1000 runs longer.

// The bounds of verification itself; not all of them are used here.
#[allow(dead_code)]
#[path = "../src/rounding.rs"]
mod rounding;

#[path = "properties/attention.rs"]
mod attention;
#[path = "properties/bounds.rs"]
mod bounds;
#[path = "properties/device.rs"]
mod device;
#[path = "properties/elementwise.rs"]
mod elementwise;
#[path = "properties/embedding.rs"]
mod embedding;
#[path = "properties/gemm.rs"]
mod gemm;
#[path = "properties/gpt2_xl.rs"]
mod gpt2_xl;
#[path = "properties/limits.rs"]
mod limits;
#[path = "properties/norms.rs"]
mod norms;
#[path = "properties/optimizer.rs"]
mod optimizer;
#[path = "properties/sums.rs"]
mod sums;
#[path = "properties/values.rs"]
mod values;
#[path = "properties/vocabulary.rs"]
mod vocabulary;

/// A test for each operation, and their names.
macro_rules! properties {
    ($($name:ident: $property:path,)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                $property();
            }
        )*
    };
}

properties! {
    adamw: optimizer::adamw,
    add_scaled: elementwise::add_scaled,
    attention_decode: attention::attention_decode,
    causal_softmax: attention::causal_softmax,
    column_sum: sums::column_sum,
    cross_entropy: vocabulary::cross_entropy,
    embedding: embedding::lookups,
    embedding_backward: embedding::token_gradients,
    position_embedding_backward: embedding::position_gradients,
    gemm: gemm::gemm,
    global_norm: optimizer::global_norm,
    head_products: sums::head_products,
    layer_norm: norms::forward,
    layer_norm_backward: norms::backward,
    layer_norm_grad: norms::grad,
    map_norms: sums::map_norms,
    pack: elementwise::pack_and_unpack,
    patch_attention: elementwise::patch_attention,
    replace_heads: elementwise::replace_heads,
    reversed_attention: attention::reversed_attention,
    vocabulary_summary: vocabulary::vocabulary_summary,
    weighted_sum: sums::weighted_sum,
}

/// An operation without a property is found here.
#[test]
fn every_operation_has_its_property() {
    let ops = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../gpu/src/ops");
    // Not operations: what they share, a part of one, and the way for a caller's own.
    let others = ["mod", "expect", "row_layout", "matrix", "gemm_tile", "custom"];
    for entry in std::fs::read_dir(ops).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let covered = others.contains(&name.as_str()) || NAMES.contains(&name.as_str());
        assert!(covered, "crates/gpu/src/ops/{name}.rs has no property in crates/verify/tests/properties");
    }
}
