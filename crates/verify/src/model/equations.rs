//! Each equation of the model, evaluated in f64 from the device's own tensors.
//!
//! What stands on an equation's right is read from the trace, so that an error made elsewhere does not matter: an
//! equation that does not hold is itself at fault. The letters are those of `docs/mathematics.md`.

use super::subject::{DRAWS, largest_change};
use crate::random::{Random, wide};
use crate::report::{Finding, Report, Section, largest};
use crate::rounding::gelu_slope_rounding;
use crate::rounding::{DEVIATIONS, ROUNDING, Rounding};
use retrograd_formats::BlockSite::{self, *};
use retrograd_formats::{Config, Layer, RequestError, Site, TraceRead};
use retrograd_reference::ops;
use std::collections::BTreeMap;

/// What is allowed in any case: a few roundings of the largest value, where the right side is nothing but a copy.
const FLOOR: f64 = 8.0 * ROUNDING;

/// Parameters by HF name, in f64.
type Parameters = BTreeMap<String, Vec<f64>>;

/// A trace with everything captured, beside the weights it was made with.
pub(super) struct Equations<'a> {
    pub(super) parameters: &'a Parameters,
    pub(super) config: Config,
    pub(super) t: usize,
    /// First position with loss, and how many.
    pub(super) loss: (usize, usize),
    tokens: Vec<u32>,
    targets: Option<Vec<u32>>,
    tensors: BTreeMap<Site, Vec<f32>>,
    suffix: (String, String),
    pub(super) report: &'a mut Report,
}

impl<'a> Equations<'a> {
    /// Reads the trace.
    pub(super) fn new(
        trace: &dyn TraceRead,
        parameters: &'a Parameters,
        (row, case): (&str, &str),
        report: &'a mut Report,
    ) -> Result<Equations<'a>, RequestError> {
        let meta = trace.meta();
        let sites = trace.sites();
        let read = trace.read_all(&sites)?;
        let tensors =
            sites.iter().zip(read).map(|(site, tensor)| (*site, tensor.as_f32().to_vec())).collect();
        let targets: Vec<u32> = meta.objective.targets.iter().map(|id| id.0).collect();
        Ok(Equations {
            parameters,
            config: meta.config.clone(),
            t: meta.ids.len(),
            loss: (meta.objective.first_position, meta.objective.count),
            tokens: meta.ids.iter().map(|id| id.0).collect(),
            targets: (!targets.is_empty()).then_some(targets),
            tensors,
            suffix: (row.to_owned(), case.to_owned()),
            report,
        })
    }

    /// Evaluates all of them, in the order of computation.
    pub(super) fn check(mut self) -> Self {
        self.embedding();
        for layer in 0..self.config.n_layer {
            self.block_forward(layer);
        }
        self.head();
        for layer in (0..self.config.n_layer).rev() {
            self.block_backward(layer);
        }
        self
    }

    /// A tensor as the device computed it.
    pub(super) fn found(&self, site: Site) -> &[f32] {
        self.tensors.get(&site).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn block(&self, layer: usize, site: BlockSite) -> Vec<f64> {
        wide(self.found(Site::Block(Layer(layer), site)))
    }

    fn parameter(&self, name: &str) -> &'a [f64] {
        self.parameters.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn in_block(&self, layer: usize, name: &str) -> &'a [f64] {
        self.parameter(&format!("transformer.h.{layer}.{name}"))
    }

    /// The unembedding.
    fn w_head(&self) -> &'a [f64] {
        match self.parameters.contains_key("lm_head.weight") {
            true => self.parameter("lm_head.weight"),
            false => self.parameter("transformer.wte.weight"),
        }
    }

    pub(super) fn add(&mut self, section: Section, name: &str, finding: Finding) {
        let row = format!("{name}{}", self.suffix.0);
        self.report.add(section, row, finding);
    }

    pub(super) fn case(&self, place: &str) -> String {
        format!("{place}{}", self.suffix.1)
    }

    /// Compares a tensor with `right(inputs)`; `terms` is the length of the longest sum in it.
    ///
    /// What is expected is the change of the right side when its inputs are moved as in
    /// [`Rounding::sum`](crate::rounding::Rounding::sum).
    fn equation(
        &mut self,
        name: &str,
        site: Site,
        terms: usize,
        inputs: &[&[f64]],
        right: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    ) {
        self.equation_with(name, site, (terms, 0.0), inputs, right);
    }

    /// As [`equation`](Self::equation), with so much of the result lost besides, in its own size.
    fn equation_with(
        &mut self,
        name: &str,
        site: Site,
        (terms, lost): (usize, f64),
        inputs: &[&[f64]],
        right: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    ) {
        let inputs: Vec<Vec<f64>> = inputs.iter().map(|input| input.to_vec()).collect();
        let wanted = right(&inputs);
        let moved: Vec<Vec<f64>> = (0..DRAWS).map(|draw| right(&moved(&inputs, terms, draw))).collect();
        let size = largest(&wanted);
        let lost = if size > 0.0 { lost / size } else { lost };
        let change = largest_change(&wanted, moved.iter().map(Vec::as_slice)) + lost;
        let rounding = Rounding { expected: change, at_least: 0.0 };
        let allowed = (DEVIATIONS * change).max(FLOOR);
        let finding =
            Finding::within(self.case(&site.to_string()), self.found(site), &wanted, rounding, allowed);
        self.add(Section::Equations, name, finding);
    }

    fn embedding(&mut self) {
        let d = self.config.n_embd;
        let (wte, wpe) = (self.parameter("transformer.wte.weight"), self.parameter("transformer.wpe.weight"));
        let wanted = ops::embedding(&self.tokens, wte, wpe, d);
        let site = Site::Block(Layer(0), ResidPre);
        let rounding = Rounding::steps(2.0);
        let finding = Finding::new(self.case(&site.to_string()), self.found(site), &wanted, rounding);
        self.add(Section::Equations, "r = wte[token] + wpe[position]", finding);
    }

    fn block_forward(&mut self, layer: usize) {
        let Config { n_embd: d, n_inner: i, n_head: h, layer_norm_epsilon: eps, .. } = self.config;
        let t = self.t;
        let at = |site| Site::Block(Layer(layer), site);
        let w = |name: &str| self.in_block(layer, name);
        let [g1, b1, g2, b2] = ["ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"].map(w);
        let [w_qkv, b_qkv, w_o, b_o] =
            ["attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight", "attn.c_proj.bias"].map(w);
        let [w_1, bias_1, w_2, bias_2] =
            ["mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias"].map(w);
        let [r, u, a, o] = [ResidPre, CAttnInput, Pattern, AttnProjInput].map(|site| self.block(layer, site));
        let [r_mid, m, g] = [ResidMid, FcInput, MlpProjInput].map(|site| self.block(layer, site));

        self.equation("u = LN1(r)", at(CAttnInput), d, &[&r], |x| {
            ops::layer_norm(&x[0], g1, b1, t, d, eps).y
        });
        self.equation("A = softmax(q·kᵀ/√d)", at(Pattern), d, &[&u], |x| {
            ops::attention(&ops::linear(&x[0], w_qkv, b_qkv, t, d, 3 * d), t, d, h, None).pattern
        });
        self.equation("o = A·v", at(AttnProjInput), d.max(t), &[&a, &u], |x| {
            let v = part(&ops::linear(&x[1], w_qkv, b_qkv, t, d, 3 * d), 2, t, d, h);
            let o = per_head(&x[0], &v, t, h, |a, v| ops::matmul(a, v, t, d / h, t));
            ops::merge_heads(&o, t, d, h)
        });
        self.equation("r′ = r + o·Wo + bo", at(ResidMid), d, &[&r, &o], |x| {
            ops::add(&x[0], &ops::linear(&x[1], w_o, b_o, t, d, d))
        });
        self.equation("m = LN2(r′)", at(FcInput), d, &[&r_mid], |x| {
            ops::layer_norm(&x[0], g2, b2, t, d, eps).y
        });
        self.equation("g = gelu(m·W1 + b1)", at(MlpProjInput), d, &[&m], |x| {
            ops::linear(&x[0], w_1, bias_1, t, d, i).into_iter().map(ops::gelu_new).collect()
        });
        self.equation("r″ = r′ + g·W2 + b2", at(ResidPost), i, &[&r_mid, &g], |x| {
            ops::add(&x[0], &ops::linear(&x[1], w_2, bias_2, t, i, d))
        });
    }

    /// From the last residual stream to the loss, and back.
    fn head(&mut self) {
        let Config { n_embd: d, vocab_size: v, n_layer, layer_norm_epsilon: eps, .. } = self.config;
        let (first, p) = self.loss;
        let (gamma, beta) =
            (self.parameter("transformer.ln_f.weight"), self.parameter("transformer.ln_f.bias"));
        let w_head = self.w_head();
        let r = wide(self.found(Site::LnFInput));
        let r = r.get(first * d..(first + p) * d).unwrap_or_default(); // (P, D)
        let [y, logits, delta] =
            [Site::LmHeadInput, Site::Logits, Site::LmHeadDelta].map(|site| wide(self.found(site)));

        self.equation("y = LNf(r)", Site::LmHeadInput, d, &[r], |x| {
            ops::layer_norm(&x[0], gamma, beta, p, d, eps).y
        });
        self.equation("logits = y·wteᵀ", Site::Logits, d, &[&y], |x| {
            ops::matmul_nt(&x[0], w_head, p, v, d)
        });
        if let Some(targets) = self.targets.clone() {
            let entropy = |x: &[Vec<f64>]| ops::cross_entropy(&x[0], &targets, p, v);
            self.equation("L = −log softmax(logits)[target]", Site::Loss, 1, &[&logits], |x| {
                vec![entropy(x).loss]
            });
            self.equation("δ_logits = (softmax − onehot)/P", Site::LmHeadDelta, 1, &[&logits], |x| {
                entropy(x).delta
            });
        }
        let back = |x: &[Vec<f64>]| {
            let d_y = ops::matmul(&x[0], w_head, p, d, v); // (P, D)
            let norm = ops::layer_norm(&x[1], gamma, beta, p, d, eps);
            ops::layer_norm_backward(&d_y, &x[1], gamma, &norm.mean, &norm.rstd, p, d)
        };
        let t = self.t;
        let last = Site::Block(Layer(n_layer - 1), ResidPostDelta);
        self.equation("δ = LNfᵇ(δ_logits·wte)", last, v, &[&delta, r], |x| {
            let mut delta = vec![0.0; t * d]; // (T, D)
            delta[first * d..(first + p) * d].copy_from_slice(&back(x).dx);
            delta
        });
        self.equation("∂γ, ∂β of LNf", Site::LnFWeightGrad, v, &[&delta, r], |x| back(x).dgamma);
        self.equation("∂γ, ∂β of LNf", Site::LnFBiasGrad, v, &[&delta, r], |x| back(x).dbeta);
    }

    fn block_backward(&mut self, layer: usize) {
        let Config { n_embd: d, n_inner: i, n_head: h, layer_norm_epsilon: eps, .. } = self.config;
        let t = self.t;
        let at = |site| Site::Block(Layer(layer), site);
        let w = |name: &str| self.in_block(layer, name);
        let [g1, b1, g2, b2] = ["ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"].map(w);
        let [w_qkv, b_qkv, w_o] = ["attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight"].map(w);
        let [w_1, bias_1, w_2] = ["mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight"].map(w);
        let [r, u, a, r_mid, m] =
            [ResidPre, CAttnInput, Pattern, ResidMid, FcInput].map(|site| self.block(layer, site));
        let [delta, d_f, delta_mid, reversed, d_qkv] =
            [ResidPostDelta, FcDelta, ResidMidDelta, Reversed, CAttnDelta]
                .map(|site| self.block(layer, site));

        let f = |m: &[f64]| ops::linear(m, w_1, bias_1, t, d, i); // (T, I)
        let d_g = |delta: &[f64]| ops::matmul_nt(delta, w_2, t, i, d); // (T, I)
        let slope = |x: &[Vec<f64>]| -> Vec<f64> {
            d_g(&x[0]).iter().zip(f(&x[1])).map(|(d_g, f)| d_g * ops::gelu_new_derivative(f)).collect()
        };
        // gelu′ has 1 − tanh² times f³, of which f32 keeps what the kernel's own check allows it.
        let lost = d_g(&delta).into_iter().zip(f(&m)).map(|(d_g, f)| d_g.abs() * gelu_slope_rounding(f));
        let lost = lost.fold(0.0, f64::max);
        self.equation_with("∂f = (δ·W2ᵀ) ⊙ gelu′(f)", at(FcDelta), (d, lost), &[&delta, &m], slope);
        let norm_2 = |x: &[Vec<f64>]| {
            let d_m = ops::matmul_nt(&x[0], w_1, t, d, i); // (T, D)
            let norm = ops::layer_norm(&x[1], g2, b2, t, d, eps);
            ops::layer_norm_backward(&d_m, &x[1], g2, &norm.mean, &norm.rstd, t, d)
        };
        self.equation(
            "δ′ = δ + LN2ᵇ(∂f·W1ᵀ)",
            at(ResidMidDelta),
            i,
            &[&d_f, &r_mid, &delta],
            |x| ops::add(&x[2], &norm_2(x).dx),
        );
        let sums = i.max(t);
        self.equation("∂γ, ∂β of LN2", at(Ln2WeightGrad), sums, &[&d_f, &r_mid], |x| norm_2(x).dgamma);
        self.equation("∂γ, ∂β of LN2", at(Ln2BiasGrad), sums, &[&d_f, &r_mid], |x| norm_2(x).dbeta);

        let qkv = |u: &[f64]| ops::linear(u, w_qkv, b_qkv, t, d, 3 * d); // (T, 3D)
        let d_o = |delta: &[f64]| ops::matmul_nt(delta, w_o, t, d, d); // (T, D)
        self.equation(REVERSED, at(Reversed), d.max(t), &[&a, &delta_mid, &u], |x| {
            ops::attention_backward(&qkv(&x[2]), &x[0], None, &d_o(&x[1]), t, d, h).reversed
        });
        let sums = d.max(t);
        let mut thirds = ["∂q = R·k", "∂k = Rᵀ·q", "∂v = Aᵀ·∂o"].into_iter();
        let mut third =
            |this: &mut Self, place: usize, inputs: &[&[f64]], right: &dyn Fn(&[Vec<f64>]) -> Vec<f64>| {
                let name = thirds.next().unwrap_or_default();
                this.third(name, layer, place, (sums, inputs), right);
            };
        third(self, 0, &[&reversed, &u], &|x| {
            let k = part(&qkv(&x[1]), 1, t, d, h);
            per_head(&x[0], &k, t, h, |r, k| ops::matmul(r, k, t, d / h, t))
        });
        third(self, 1, &[&reversed, &u], &|x| {
            let q = part(&qkv(&x[1]), 0, t, d, h);
            per_head(&x[0], &q, t, h, |r, q| ops::matmul_tn(r, q, t, d / h, t))
        });
        third(self, 2, &[&a, &delta_mid], &|x| {
            let d_o = ops::split_heads(&d_o(&x[1]), t, d, h);
            per_head(&x[0], &d_o, t, h, |a, d_o| ops::matmul_tn(a, d_o, t, d / h, t))
        });

        let norm_1 = |x: &[Vec<f64>]| {
            let d_u = ops::matmul_nt(&x[0], w_qkv, t, d, 3 * d); // (T, D)
            let norm = ops::layer_norm(&x[1], g1, b1, t, d, eps);
            ops::layer_norm_backward(&d_u, &x[1], g1, &norm.mean, &norm.rstd, t, d)
        };
        let sums = (3 * d).max(t);
        self.equation("∂γ, ∂β of LN1", at(Ln1WeightGrad), sums, &[&d_qkv, &r], |x| norm_1(x).dgamma);
        self.equation("∂γ, ∂β of LN1", at(Ln1BiasGrad), sums, &[&d_qkv, &r], |x| norm_1(x).dbeta);
        self.equation(NEXT, at(ResidPreDelta), 3 * d, &[&d_qkv, &r, &delta_mid], |x| {
            ops::add(&x[2], &norm_1(x).dx)
        });
    }

    /// As [`equation`](Self::equation), for one of the thirds of `c_attn.delta`, given as `[H, T, d]`.
    fn third(
        &mut self,
        name: &str,
        layer: usize,
        place: usize,
        (terms, inputs): (usize, &[&[f64]]),
        right: &dyn Fn(&[Vec<f64>]) -> Vec<f64>,
    ) {
        let Config { n_embd: d, n_head: h, .. } = self.config;
        let t = self.t;
        let inputs: Vec<Vec<f64>> = inputs.iter().map(|input| input.to_vec()).collect();
        let wanted = right(&inputs);
        let moved: Vec<Vec<f64>> = (0..DRAWS).map(|draw| right(&moved(&inputs, terms, draw))).collect();
        let change = largest_change(&wanted, moved.iter().map(Vec::as_slice));
        let site = Site::Block(Layer(layer), CAttnDelta);
        let found = part(&wide(self.found(site)), place, t, d, h);
        let found: Vec<f32> = found.iter().map(|&value| value as f32).collect();
        let allowed = (DEVIATIONS * change).max(FLOOR);
        let rounding = Rounding { expected: change, at_least: 0.0 };
        let finding = Finding::within(self.case(&site.to_string()), &found, &wanted, rounding, allowed);
        self.add(Section::Equations, name, finding);
    }
}

/// Reversed Attention.
const REVERSED: &str = "R = A ⊙ (E − rowsum(A ⊙ E))/√d";
/// What leaves a block at its lower end.
const NEXT: &str = "δ_next = δ′ + LN1ᵇ([∂q ∂k ∂v]·Wqkvᵀ)";

/// Inputs moved by what sums of `terms` of them lose.
pub(super) fn moved(inputs: &[Vec<f64>], terms: usize, draw: u64) -> Vec<Vec<f64>> {
    let amplitude = Rounding::sum(terms).expected;
    let mut random = Random::new(draw + 17);
    let mut moved = inputs.to_vec();
    moved.iter_mut().flatten().for_each(|value| *value *= 1.0 + random.sign() * amplitude);
    moved
}

/// q, k or v (place 0, 1, 2) of `[T, 3D]`, as `[H, T, d]`.
pub(super) fn part(qkv: &[f64], place: usize, t: usize, d: usize, h: usize) -> Vec<f64> {
    let rows = qkv.chunks_exact(3 * d).flat_map(|row| row[place * d..][..d].iter().copied());
    ops::split_heads(&rows.collect::<Vec<_>>(), t, d, h)
}

/// `f(map, x)` for each head: maps are `[H, T, T]`, x is `[H, T, d]`.
fn per_head(maps: &[f64], x: &[f64], t: usize, h: usize, f: impl Fn(&[f64], &[f64]) -> Vec<f64>) -> Vec<f64> {
    let size = x.len() / h;
    (0..h).flat_map(|head| f(&maps[head * t * t..][..t * t], &x[head * size..][..size])).collect()
}
