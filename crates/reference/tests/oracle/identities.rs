//! What holds for every model, whatever its weights.

use crate::finite_difference::distance;
use crate::random::{Random, config, model};
use retrograd_formats::BlockSite::*;
use retrograd_formats::{BlockSite, Layer, LinearKind, Objective, Site, TokenId, TraceRequest};
use retrograd_reference::ReferenceTrace;
use retrograd_reference::ops::{column_sum, linear, matmul, matmul_tn, split_heads};

fn get(trace: &ReferenceTrace, layer: usize, site: BlockSite) -> &[f64] {
    trace.get(Site::Block(Layer(layer), site)).unwrap()
}

#[test]
fn reversed_attention_is_the_gradient_of_q_times_k() {
    for (t, d, h) in [(1, 6, 3), (6, 6, 1), (6, 15, 5), (7, 3, 3)] {
        let config = config(2, d, h, 5, true);
        let (model, d_head) = (model(&config, 40), d / h);
        let ids = Random::new(41).ids(t, config.vocab_size);
        let trace = model.trace(&TraceRequest::new(ids, Objective::Target(TokenId(3)))).unwrap();
        for layer in 0..2 {
            let weight = &model.parameters()[&format!("transformer.h.{layer}.attn.c_attn.weight")];
            let bias = &model.parameters()[&format!("transformer.h.{layer}.attn.c_attn.bias")];
            let qkv = linear(get(&trace, layer, CAttnInput), weight, bias, t, d, 3 * d); // (T, 3D)
            let part = |x: &[f64], part: usize| -> Vec<f64> {
                split_heads(
                    &x.chunks(d).skip(part).step_by(3).flatten().copied().collect::<Vec<_>>(),
                    t,
                    d,
                    h,
                )
            }; // (H, T, d)
            let (q, k) = (part(&qkv, 0), part(&qkv, 1));
            let delta = get(&trace, layer, CAttnDelta); // (T, 3D)
            let (d_q, d_k) = (part(delta, 0), part(delta, 1));
            let reversed = get(&trace, layer, Reversed); // (H, T, T)
            for head in 0..h {
                let r = &reversed[head * t * t..][..t * t];
                let of = |x: &[f64]| x[head * t * d_head..][..t * d_head].to_vec();
                assert!(distance(&matmul(r, &of(&k), t, d_head, t), &of(&d_q)) < 1e-13, "R·k = ∂q");
                assert!(distance(&matmul_tn(r, &of(&q), t, d_head, t), &of(&d_k)) < 1e-13, "Rᵀ·q = ∂k");
                for (i, row) in r.chunks(t).enumerate() {
                    assert!(row.iter().sum::<f64>().abs() < 1e-15);
                    assert!(row[i + 1..].iter().all(|x| x.to_bits() == 0));
                }
            }
        }
    }
}

#[test]
fn factors_make_the_weight_gradients() {
    let config = config(2, 6, 3, 7, true);
    let (model, t) = (model(&config, 42), 5);
    let ids = Random::new(43).ids(t, config.vocab_size);
    let request = TraceRequest::new(ids, Objective::NextToken);
    let trace = model.trace(&request).unwrap();
    let (_, gradients) = model.weight_gradients(&request).unwrap();
    for layer in 0..2 {
        for kind in LinearKind::ALL {
            let (x, delta) = (get(&trace, layer, kind.input()), get(&trace, layer, kind.delta()));
            let name = format!("transformer.h.{layer}.{}", kind.suffix());
            let (d_in, d_out) = (x.len() / t, delta.len() / t);
            assert_eq!(gradients[&format!("{name}.weight")], matmul_tn(x, delta, d_in, d_out, t));
            assert_eq!(gradients[&format!("{name}.bias")], column_sum(delta, t, d_out));
        }
        let norms = [
            ("ln_1.weight", Ln1WeightGrad),
            ("ln_1.bias", Ln1BiasGrad),
            ("ln_2.weight", Ln2WeightGrad),
            ("ln_2.bias", Ln2BiasGrad),
        ];
        for (name, site) in norms {
            assert_eq!(gradients[&format!("transformer.h.{layer}.{name}")], get(&trace, layer, site));
        }
    }
    assert_eq!(gradients["transformer.ln_f.weight"], trace.get(Site::LnFWeightGrad).unwrap());
    assert_eq!(gradients["transformer.ln_f.bias"], trace.get(Site::LnFBiasGrad).unwrap());
}

#[test]
fn a_loss_on_the_last_position_leaves_the_last_block_one_row() {
    let config = config(3, 6, 3, 7, true);
    let (model, t, d, i) = (model(&config, 44), 6, 6, 7);
    let ids = Random::new(45).ids(t, config.vocab_size);
    let request = TraceRequest::new(ids, Objective::Target(TokenId(3)));
    let trace = model.trace(&request).unwrap();
    for (site, width) in
        [(MlpProjDelta, d), (FcDelta, i), (AttnProjDelta, d), (ResidPostDelta, d), (ResidMidDelta, d)]
    {
        let delta = get(&trace, 2, site);
        assert!(delta[..(t - 1) * width].iter().all(|x| *x == 0.0), "{site:?} elsewhere");
        assert!(delta[(t - 1) * width..].iter().any(|x| *x != 0.0), "{site:?} at the end");
        assert!(get(&trace, 1, site)[..width].iter().any(|x| *x != 0.0), "{site:?} one block below");
    }
    let (_, gradients) = model.weight_gradients(&request).unwrap();
    for (name, cols) in [("mlp.c_proj", d), ("mlp.c_fc", i), ("attn.c_proj", d)] {
        let rank_above_1 =
            |layer: usize| minors(&gradients[&format!("transformer.h.{layer}.{name}.weight")], cols);
        assert!(rank_above_1(2) < 1e-15, "{name} of the last block has rank 1");
        assert!(rank_above_1(1) > 1e-3, "{name} of the block below has not");
    }
}

/// The largest 2×2 minor that contains the largest element, relative to that element's square; 0 for
/// a matrix of rank 1.
fn minors(x: &[f64], cols: usize) -> f64 {
    let pivot = (0..x.len()).max_by(|a, b| x[*a].abs().total_cmp(&x[*b].abs())).unwrap();
    let (row, col) = (pivot / cols, pivot % cols);
    let minor = |at: usize| x[at] * x[pivot] - x[at / cols * cols + col] * x[row * cols + at % cols];
    (0..x.len()).fold(0.0_f64, |max, at| max.max(minor(at).abs())) / (x[pivot] * x[pivot])
}

#[test]
fn sites_that_are_the_same_tensor() {
    let config = config(2, 6, 3, 7, true);
    let ids = Random::new(46).ids(4, config.vocab_size);
    let trace = model(&config, 47).trace(&TraceRequest::new(ids, Objective::NextToken)).unwrap();
    assert_eq!(get(&trace, 0, ResidPost), get(&trace, 1, ResidPre));
    assert_eq!(get(&trace, 0, ResidPostDelta), get(&trace, 1, ResidPreDelta));
    assert_eq!(get(&trace, 1, ResidPost), trace.get(Site::LnFInput).unwrap());
    for layer in 0..2 {
        assert_eq!(get(&trace, layer, ResidPostDelta), get(&trace, layer, MlpProjDelta));
        assert_eq!(get(&trace, layer, ResidMidDelta), get(&trace, layer, AttnProjDelta));
    }
}
