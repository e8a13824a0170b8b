//! What holds of every trace, whatever the weights.

use super::equations::{Equations, moved};
use crate::report::{Finding, Section, largest};
use crate::rounding::Rounding;
use retrograd_formats::BlockSite::{self, *};
use retrograd_formats::{Config, Layer, Site};
use retrograd_reference::ops;

impl Equations<'_> {
    /// Checks them.
    pub(super) fn identities(mut self) {
        for layer in 0..self.config.n_layer {
            self.maps(layer);
            self.two_names(layer);
        }
        self.rows_without_loss();
    }

    fn exactly(&mut self, name: &str, place: &str, found: &[f32], wanted: &[f32]) {
        let wanted: Vec<f64> = wanted.iter().map(|&value| f64::from(value)).collect();
        let finding = Finding::new(self.case(place), found, &wanted, Rounding::none());
        self.add(Section::Identities, name, finding);
    }

    /// Zeros above the diagonal; rows that sum to 1 and to 0.
    fn maps(&mut self, layer: usize) {
        let t = self.t;
        for (name, site) in [("A is 0 above the diagonal", Pattern), ("R is 0 above the diagonal", Reversed)]
        {
            let site = Site::Block(Layer(layer), site);
            let maps = self.found(site);
            let above: Vec<f32> = (0..maps.len()).filter(|i| i % t > i / t % t).map(|i| maps[i]).collect();
            self.exactly(name, &site.to_string(), &above, &vec![0.0; above.len()]);
        }
        let sums = |maps: &[f64]| -> Vec<f64> { maps.chunks_exact(t).map(|row| row.iter().sum()).collect() };
        let rounded = |sums: Vec<f64>| -> Vec<f32> { sums.into_iter().map(|sum| sum as f32).collect() };

        let a = self.block(layer, Pattern);
        let found = rounded(sums(&a));
        let place = Site::Block(Layer(layer), Pattern).to_string();
        let rounding = Rounding::sum(t).exponential();
        let finding = Finding::new(self.case(&place), &found, &vec![1.0; found.len()], rounding);
        self.add(Section::Identities, "rows of A sum to 1", finding);

        // Each entry of R and the row sum in it are rounded by themselves: R of two draws, one for each.
        let Config { n_embd: d, n_head: h, .. } = self.config;
        let (w_qkv, b_qkv, w_o) = (
            self.in_block(layer, "attn.c_attn.weight"),
            self.in_block(layer, "attn.c_attn.bias"),
            self.in_block(layer, "attn.c_proj.weight"),
        );
        let v = super::equations::part(
            &ops::linear(&self.block(layer, CAttnInput), w_qkv, b_qkv, t, d, 3 * d),
            2,
            t,
            d,
            h,
        );
        let d_o = ops::matmul_nt(&self.block(layer, ResidMidDelta), w_o, t, d, d);
        let d_o = ops::split_heads(&d_o, t, d, h);
        let size = t * d / h;
        let e: Vec<f64> = (0..h)
            .flat_map(|head| {
                ops::matmul_nt(&d_o[head * size..][..size], &v[head * size..][..size], t, t, d / h)
            })
            .collect();
        let [one, other] = [0, 1].map(|draw| moved(&[a.clone(), e.clone()], t, draw));
        let scale = 1.0 / ((d / h) as f64).sqrt();
        let drift = (0..h * t).fold(0.0f64, |most, row| {
            let seen = row * t..row * t + row % t + 1;
            let dot: f64 = seen.clone().map(|i| other[0][i] * other[1][i]).sum();
            most.max(seen.map(|i| one[0][i] * (one[1][i] - dot) * scale).sum::<f64>().abs())
        });
        let reversed = self.block(layer, Reversed);
        let size = largest(&reversed);
        let found = rounded(sums(&reversed));
        let rounding = Rounding { expected: if size > 0.0 { drift / size } else { drift }, at_least: size };
        let place = Site::Block(Layer(layer), Reversed).to_string();
        let finding = Finding::new(self.case(&place), &found, &vec![0.0; found.len()], rounding);
        self.add(Section::Identities, "rows of R sum to 0", finding);
    }

    /// Tensors that have two names.
    fn two_names(&mut self, layer: usize) {
        let at = |layer, site| Site::Block(Layer(layer), site);
        let mut pairs = vec![
            (at(layer, ResidPostDelta), at(layer, MlpProjDelta)),
            (at(layer, ResidMidDelta), at(layer, AttnProjDelta)),
        ];
        if layer + 1 < self.config.n_layer {
            pairs.push((at(layer, ResidPost), at(layer + 1, ResidPre)));
            pairs.push((at(layer, ResidPostDelta), at(layer + 1, ResidPreDelta)));
        } else {
            pairs.push((at(layer, ResidPost), Site::LnFInput));
        }
        for (one, other) in pairs {
            let (found, wanted) = (self.found(one).to_vec(), self.found(other).to_vec());
            self.exactly("one tensor under two names", &format!("{one} and {other}"), &found, &wanted);
        }
    }

    /// In the last block, δ and what the MLP makes of it are 0 at positions without loss: with one position that
    /// has some, the gradients of its MLP and output projection have rank 1.
    fn rows_without_loss(&mut self) {
        let (first, count) = self.loss;
        let layer = self.config.n_layer - 1;
        for site in [ResidPostDelta, MlpProjDelta, FcDelta, ResidMidDelta, AttnProjDelta] {
            let outside = self.outside(Site::Block(Layer(layer), site), first, count);
            let place = place(layer, site);
            self.exactly(
                "δ of the last block is 0 without loss",
                &place,
                &outside,
                &vec![0.0; outside.len()],
            );
        }
    }

    /// The rows of a tensor outside `first .. first + count`.
    fn outside(&self, site: Site, first: usize, count: usize) -> Vec<f32> {
        let found = self.found(site);
        let width = (found.len() / self.t.max(1)).max(1);
        let rows = found.chunks_exact(width).enumerate();
        let rows = rows.filter(|(row, _)| !(first..first + count).contains(row));
        rows.flat_map(|(_, row)| row.iter().copied()).collect()
    }
}

fn place(layer: usize, site: BlockSite) -> String {
    Site::Block(Layer(layer), site).to_string()
}
