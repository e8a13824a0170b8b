//! Initial weights, as GPT-2's authors drew them.

use super::data::generator;
use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;
use retrograd_formats::{Config, Weights};
use std::collections::BTreeMap;

/// Standard deviation of the initial matrices (Radford et al. 2019).
const STANDARD_DEVIATION: f64 = 0.02;

/// Matrices from a normal distribution with σ = 0.02, the two projections into the residual stream of
/// each block with σ/√(2L); biases 0, norms 1 and 0. By canonical HF name.
pub(crate) fn initial_weights(config: &Config, seed: u64) -> BTreeMap<String, Vec<f32>> {
    let mut random = generator(seed);
    let untied = !config.tie_word_embeddings;
    Weights::parameter_names(config, untied)
        .into_iter()
        .map(|name| {
            let shape = Weights::parameter_shape(config, &name);
            let count = shape.iter().product();
            let values = match shape.len() {
                1 => vec![if name.ends_with(".weight") { 1.0 } else { 0.0 }; count],
                _ => {
                    let projects = name.ends_with("c_proj.weight");
                    let scale = if projects { (2.0 * config.n_layer as f64).sqrt() } else { 1.0 };
                    normal(&mut random, STANDARD_DEVIATION / scale, count)
                }
            };
            (name, values)
        })
        .collect()
}

/// Normal deviates by Box and Muller's method.
fn normal(random: &mut Pcg64, deviation: f64, count: usize) -> Vec<f32> {
    let mut uniform = || ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = deviation * (-2.0 * uniform().ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * uniform()).sin_cos();
        values.extend([(radius * cosine) as f32, (radius * sine) as f32]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviates_have_the_asked_mean_and_deviation() {
        let values = normal(&mut generator(5), 0.02, 100_001);
        assert_eq!(values.len(), 100_001);
        let mean = values.iter().map(|x| f64::from(*x)).sum::<f64>() / 1e5;
        let variance = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 3e-4, "{mean}");
        approx::assert_relative_eq!(variance.sqrt(), 0.02, max_relative = 0.01);
    }
}
