//! Attention maps as bytes: lower triangles, 8 bits a value, a scale a head; chosen heads in full.
//!
//! ```text
//! A = byte/255 · scale         R = byte/127 · scale, byte as signed
//! ```

use retrograd::{BlockSite, HostTensor, Layer, RequestError, Site, TraceRead};
use serde::Serialize;

/// Where the maps lie in the binary part of a page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Manifest {
    tokens: usize,
    heads: usize,
    layers: Vec<usize>,
    pattern_scale: Vec<Vec<f32>>,
    reversed_scale: Vec<Vec<f32>>,
    exact: Vec<ExactHead>,
}

/// A head whose maps are there in f32 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ExactHead {
    pub(crate) layer: usize,
    pub(crate) head: usize,
}

/// The maps of every layer that the trace holds, and those of `exact` in full.
pub(crate) fn encode(
    trace: &dyn TraceRead,
    exact: &[ExactHead],
) -> Result<Option<(Manifest, Vec<u8>)>, RequestError> {
    let (config, tokens) = (&trace.meta().config, trace.meta().ids.len());
    let sites = trace.sites();
    let layers: Vec<usize> =
        (0..config.n_layer).filter(|&layer| kinds(layer).iter().all(|site| sites.contains(site))).collect();
    if layers.is_empty() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(layers.len() * config.n_head * tokens * (tokens + 1));
    let (mut pattern_scale, mut reversed_scale) = (Vec::new(), Vec::new());
    let mut in_full: Vec<Vec<u8>> = vec![Vec::new(); exact.len()];
    for &layer in &layers {
        let maps = trace.read_all(&kinds(layer))?;
        let [pattern, reversed] = &maps[..] else { continue };
        let mut scales = (Vec::new(), Vec::new());
        for head in 0..config.n_head {
            let (a, r) = (triangle(pattern, head, tokens), triangle(reversed, head, tokens));
            let (a_scale, r_scale) = (largest(&a), largest(&r));
            bytes.extend(a.iter().map(|&a| (share(a, a_scale) * 255.0).round() as u8));
            bytes
                .extend(r.iter().map(|&r| (share(r.abs(), r_scale).copysign(r) * 127.0).round() as i8 as u8));
            for (place, _) in exact.iter().enumerate().filter(|(_, e)| **e == ExactHead { layer, head }) {
                in_full[place] = a.iter().chain(&r).flat_map(|value| value.to_le_bytes()).collect();
            }
            scales.0.push(a_scale);
            scales.1.push(r_scale);
        }
        pattern_scale.push(scales.0);
        reversed_scale.push(scales.1);
    }
    let exact: Vec<ExactHead> =
        exact.iter().zip(&in_full).filter(|(_, bytes)| !bytes.is_empty()).map(|(head, _)| *head).collect();
    bytes.extend(in_full.into_iter().flatten());
    Ok(Some((Manifest { tokens, heads: config.n_head, layers, pattern_scale, reversed_scale, exact }, bytes)))
}

fn kinds(layer: usize) -> [Site; 2] {
    [BlockSite::Pattern, BlockSite::Reversed].map(|site| Site::Block(Layer(layer), site))
}

/// A head's values on and below the diagonal, row by row.
fn triangle(maps: &HostTensor, head: usize, tokens: usize) -> Vec<f32> {
    let map = maps.as_f32().chunks_exact(tokens * tokens).nth(head).unwrap_or_default();
    map.chunks_exact(tokens).enumerate().flat_map(|(query, row)| row[..=query].iter().copied()).collect()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| value.abs().max(most))
}

/// From 0 to 1.
fn share(value: f32, largest: f32) -> f32 {
    if largest > 0.0 { (value / largest).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_on_or_below_the_diagonal() {
        let maps = HostTensor::f32([2, 2, 2], vec![1.0, 0.0, 0.25, 0.75, -2.0, 0.0, 1.0, -1.0]);
        assert_eq!(triangle(&maps, 1, 2), [-2.0, 1.0, -1.0]);
        assert_eq!(largest(&triangle(&maps, 1, 2)), 2.0);
        assert_eq!((share(0.5, 2.0), share(1.0, 0.0)), (0.25, 0.0));
    }
}
