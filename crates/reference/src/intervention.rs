//! What an intervention changes in one block.

use retrograd_formats::Interventions;
use std::borrow::Cow;

/// The part of [`Interventions`] that concerns one block.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockChange {
    /// Heads whose rows of Wo count as zero.
    ablated: Vec<usize>,
    /// M (H, T, T), zero for the heads that are not patched, and α.
    patch: Option<(Vec<f64>, f64)>,
}

impl BlockChange {
    /// What `interventions` change in block `layer` of a model with `h` heads. The maps have been
    /// checked against the model.
    pub fn new(interventions: &Interventions, layer: usize, h: usize) -> Self {
        let ablated =
            interventions.ablate.iter().filter(|head| head.layer == layer).map(|head| head.head).collect();
        let patch = interventions.patch.as_ref().and_then(|patch| {
            let mut map: Vec<f64> = patch.maps.get(&layer)?.iter().map(|&m| f64::from(m)).collect(); // (H, T, T)
            let per_head = map.len() / h;
            for (head, map) in map.chunks_exact_mut(per_head.max(1)).enumerate() {
                let chosen = match &patch.heads {
                    None => true,
                    Some(heads) => heads.iter().any(|chosen| (chosen.layer, chosen.head) == (layer, head)),
                };
                if !chosen {
                    map.fill(0.0);
                }
            }
            Some((map, f64::from(patch.alpha)))
        });
        BlockChange { ablated, patch }
    }

    /// (M, α) for [`attention`](crate::ops::attention).
    pub fn patch(&self) -> Option<(&[f64], f64)> {
        self.patch.as_ref().map(|(map, alpha)| (map.as_slice(), *alpha))
    }

    /// Wo (D, D) with the rows of the ablated heads zeroed: nothing of them reaches the residual
    /// stream, and ∂o = δ′·Woᵀ is zero for them.
    pub fn silence_heads<'a>(&self, w_o: &'a [f64], d: usize, h: usize) -> Cow<'a, [f64]> {
        let mut w_o = Cow::Borrowed(w_o); // (D, D)
        let rows = d / h; // of one head
        for head in &self.ablated {
            w_o.to_mut()[head * rows * d..][..rows * d].fill(0.0);
        }
        w_o
    }
}
