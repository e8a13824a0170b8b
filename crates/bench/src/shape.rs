//! The models whose sizes are measured.

use retrograd_formats::Config;
use std::fmt;
use std::str::FromStr;

/// A model's shape by its usual name; its weights, where any are needed, are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedShape {
    /// The shipped model's, 1.1 million parameters.
    Atlas,
    /// 82 million.
    DistilGpt2,
    /// 124 million.
    Gpt2,
    /// 355 million.
    Gpt2Medium,
    /// 774 million.
    Gpt2Large,
    /// 1.5 billion.
    Gpt2Xl,
}

impl NamedShape {
    /// Every one, the smallest first.
    pub const ALL: [NamedShape; 6] = [
        NamedShape::Atlas,
        NamedShape::DistilGpt2,
        NamedShape::Gpt2,
        NamedShape::Gpt2Medium,
        NamedShape::Gpt2Large,
        NamedShape::Gpt2Xl,
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            NamedShape::Atlas => "atlas",
            NamedShape::DistilGpt2 => "distilgpt2",
            NamedShape::Gpt2 => "gpt2",
            NamedShape::Gpt2Medium => "gpt2-medium",
            NamedShape::Gpt2Large => "gpt2-large",
            NamedShape::Gpt2Xl => "gpt2-xl",
        }
    }

    /// Its extents.
    pub fn config(self) -> Config {
        let (n_layer, n_head, n_embd) = match self {
            NamedShape::Atlas => (4, 4, 128),
            NamedShape::DistilGpt2 => (6, 12, 768),
            NamedShape::Gpt2 => (12, 12, 768),
            NamedShape::Gpt2Medium => (24, 16, 1024),
            NamedShape::Gpt2Large => (36, 20, 1280),
            NamedShape::Gpt2Xl => (48, 25, 1600),
        };
        let (vocab_size, n_positions) = if self == NamedShape::Atlas { (2560, 128) } else { (50257, 1024) };
        Config {
            vocab_size,
            n_positions,
            n_embd,
            n_layer,
            n_head,
            n_inner: 4 * n_embd,
            layer_norm_epsilon: 1e-5,
            bos_token_id: None,
            eos_token_id: None,
            tie_word_embeddings: true,
        }
    }
}

impl fmt::Display for NamedShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NamedShape {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        NamedShape::ALL.into_iter().find(|shape| shape.name() == name).ok_or_else(|| {
            let names = NamedShape::ALL.map(NamedShape::name).join(", ");
            format!("'{name}' is not the name of a shape; choose from {names}")
        })
    }
}

/// Small pseudo-random values for a parameter: the same for the same name; about 1 for a layer norm's γ.
pub(crate) fn random_values(name: &str, count: usize) -> Vec<f32> {
    let seed =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut state = seed;
    let centre = if name.contains("ln_") && name.ends_with(".weight") { 1.0 } else { 0.0 };
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Uniform within ±0.03: about the spread of GPT-2's weights.
            centre + ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * 0.03
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_names() {
        let millions = |shape: NamedShape| shape.config().parameter_count() as f64 / 1e6;
        for (shape, wanted) in [
            (NamedShape::Atlas, 1.1),
            (NamedShape::DistilGpt2, 82.0),
            (NamedShape::Gpt2, 124.0),
            (NamedShape::Gpt2Medium, 355.0),
            (NamedShape::Gpt2Large, 774.0),
            (NamedShape::Gpt2Xl, 1558.0),
        ] {
            assert!((millions(shape) / wanted - 1.0).abs() < 0.05, "{shape}: {}", millions(shape));
            assert_eq!(shape.name().parse::<NamedShape>(), Ok(shape));
        }
        assert!("gpt3".parse::<NamedShape>().unwrap_err().contains("gpt2-xl"));
    }
}
