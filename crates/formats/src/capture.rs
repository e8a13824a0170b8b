//! Which tensors of a trace are kept.

use crate::{Config, RequestError, Site, matches_glob};
use std::collections::BTreeSet;

/// Which tensors of a trace are kept, by layer and by name. Tokens and loss always are.
///
/// ```
/// use retrograd_formats::{Capture, Site};
/// let capture = Capture::all().layers("0,3-5")?.sites("attn.*,mlp.c_proj.delta")?;
/// assert!(capture.keeps("transformer.h.4.attn.reversed".parse()?));
/// assert!(!capture.keeps("transformer.h.2.attn.reversed".parse()?));
/// assert!(!capture.keeps("transformer.h.4.mlp.c_fc.delta".parse()?));
/// assert!(capture.keeps(Site::Loss));
/// # Ok::<(), retrograd_formats::RequestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// First and last of each range; `None` keeps every layer.
    layers: Option<Vec<(usize, usize)>>,
    names: Names,
    head_norms: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    All,
    Only(BTreeSet<Site>),
    Globs(Vec<String>),
}

impl Capture {
    /// Every tensor.
    pub fn all() -> Self {
        Capture { layers: None, names: Names::All, head_norms: false }
    }

    /// Tokens and loss only.
    pub fn none() -> Self {
        Capture::only([])
    }

    /// These tensors, and tokens and loss.
    pub fn only(sites: impl IntoIterator<Item = Site>) -> Self {
        Capture { layers: None, names: Names::Only(sites.into_iter().collect()), head_norms: false }
    }

    /// Keeps the tensors of these blocks only, given as `0,3-5`; sites outside the blocks are not affected.
    pub fn layers(mut self, text: &str) -> Result<Self, RequestError> {
        let range = |item: &str| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let range: (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (range.0 <= range.1).then_some(range)
        };
        let ranges = text.split(',').map(|item| {
            range(item).ok_or_else(|| {
                RequestError::invalid(
                    "--layers",
                    format!("'{}' is not a layer or a range of layers, as in 0,3-5", item.trim()),
                )
            })
        });
        self.layers = Some(ranges.collect::<Result<_, _>>()?);
        Ok(self)
    }

    /// Of the blocks that are kept, keeps those from `first` on, in a model with `n_layer` of them.
    pub fn from_layer(mut self, first: usize, n_layer: usize) -> Self {
        let all = vec![(0, n_layer.saturating_sub(1))];
        let ranges = self.layers.take().unwrap_or(all).into_iter();
        let cut = ranges.filter(|(_, last)| *last >= first).map(|(from, last)| (from.max(first), last));
        self.layers = Some(cut.collect());
        self
    }

    /// Keeps the tensors whose name matches one of the comma-separated patterns, in which `*` stands for any
    /// text and `?` for one character. A pattern that does not begin with `transformer.` also matches the
    /// name below `transformer.` or `transformer.h.{l}.`: `attn.reversed`, `ln_f.*`.
    pub fn sites(mut self, glob: &str) -> Result<Self, RequestError> {
        let patterns: Vec<String> = glob.split(',').map(|pattern| pattern.trim().to_owned()).collect();
        if patterns.iter().any(String::is_empty) {
            return Err(RequestError::invalid("--sites", format!("'{glob}' has an empty pattern")));
        }
        self.names = Names::Globs(patterns);
        Ok(self)
    }

    /// Keeps ‖A‖ and ‖R‖ of every head of every layer, whether or not the maps themselves are kept: two numbers a
    /// head instead of two T×T maps, which is what a long context leaves room for.
    pub fn head_norms(mut self) -> Self {
        self.head_norms = true;
        self
    }

    /// Whether the norms of every head's maps are kept.
    pub fn keeps_head_norms(&self) -> bool {
        self.head_norms
    }

    /// Whether this tensor is kept.
    pub fn keeps(&self, site: Site) -> bool {
        if matches!(site, Site::Tokens | Site::Loss) {
            return true;
        }
        if let (Some(ranges), Some(layer)) = (&self.layers, site.layer())
            && !ranges.iter().any(|(first, last)| (*first..=*last).contains(&layer.0))
        {
            return false;
        }
        match &self.names {
            Names::All => true,
            Names::Only(sites) => sites.contains(&site),
            Names::Globs(patterns) => patterns.iter().any(|pattern| pattern_keeps(pattern, site)),
        }
    }

    /// Checks layers alone against a model with `n_layer` of them.
    pub fn check_layers(&self, n_layer: usize) -> Result<(), RequestError> {
        match self.layers.iter().flatten().find(|(_, last)| *last >= n_layer) {
            Some((_, last)) => Err(beyond(*last, n_layer)),
            None => Ok(()),
        }
    }

    /// Checks layers and names against the model: a layer it does not have and a pattern that matches none of
    /// its tensors are errors.
    pub fn check(&self, config: &Config) -> Result<(), RequestError> {
        self.check_layers(config.n_layer)?;
        match &self.names {
            Names::All => Ok(()),
            Names::Only(sites) => {
                match sites.iter().filter_map(|s| s.layer()).find(|l| l.0 >= config.n_layer) {
                    Some(layer) => Err(beyond(layer.0, config.n_layer)),
                    None => Ok(()),
                }
            }
            Names::Globs(patterns) => {
                let all = Site::all(config.n_layer);
                match patterns.iter().find(|p| !all.iter().any(|site| pattern_keeps(p, *site))) {
                    Some(pattern) => Err(RequestError::invalid(
                        "--sites",
                        format!(
                            "'{pattern}' matches no tensor of the model; names look like transformer.h.0.attn.reversed"
                        ),
                    )),
                    None => Ok(()),
                }
            }
        }
    }
}

fn beyond(layer: usize, n_layer: usize) -> RequestError {
    let last = n_layer.saturating_sub(1);
    RequestError::invalid("--layers", format!("{layer} is not a layer of the model, which has 0 to {last}"))
}

fn pattern_keeps(pattern: &str, site: Site) -> bool {
    let name = site.to_string();
    if matches_glob(pattern, &name) {
        return true;
    }
    if pattern.starts_with("transformer.") {
        return false;
    }
    match site {
        Site::Block(_, block) => matches_glob(pattern, block.suffix()),
        _ => name.strip_prefix("transformer.").is_some_and(|rest| matches_glob(pattern, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlockSite, Layer};

    fn config(n_layer: usize) -> Config {
        Config {
            vocab_size: 11,
            n_positions: 8,
            n_embd: 6,
            n_layer,
            n_head: 3,
            n_inner: 24,
            layer_norm_epsilon: 1e-5,
            bos_token_id: None,
            eos_token_id: None,
            tie_word_embeddings: true,
        }
    }

    fn kept(capture: &Capture, n_layer: usize) -> Vec<String> {
        Site::all(n_layer).into_iter().filter(|s| capture.keeps(*s)).map(|s| s.to_string()).collect()
    }

    #[test]
    fn what_is_kept() {
        assert_eq!(kept(&Capture::none(), 2), ["tokens", "loss"]);
        assert_eq!(kept(&Capture::all(), 2).len(), 48);
        let late = Capture::all().layers("0-2,4").unwrap().sites("attn.reversed").unwrap().from_layer(2, 6);
        assert_eq!(kept(&late, 6)[2..], ["transformer.h.2.attn.reversed", "transformer.h.4.attn.reversed"]);
        assert_eq!(kept(&Capture::all().from_layer(2, 2), 2), kept(&Capture::all().from_layer(9, 2), 2));
        let both = Capture::all().layers("1").unwrap().sites("attn.reversed, logits").unwrap();
        assert_eq!(kept(&both, 3), ["tokens", "loss", "logits", "transformer.h.1.attn.reversed"]);
        let whole = Capture::all().sites("transformer.h.0.resid_*.delta").unwrap();
        assert_eq!(kept(&whole, 2).len(), 2 + 3);
        assert_eq!(kept(&Capture::all().sites("ln_f.*").unwrap(), 1).len(), 2 + 3);
        let one = Capture::only([Site::Block(Layer(1), BlockSite::Pattern)]);
        assert_eq!(kept(&one, 2), ["tokens", "loss", "transformer.h.1.attn.pattern"]);
        assert_eq!(kept(&one.layers("0").unwrap(), 2), ["tokens", "loss"]);
    }

    #[test]
    fn bad_layers_and_patterns_are_refused() {
        for text in ["", "a", "1,", "5-3", "-1", "1-2-3", "99999999999999999999999"] {
            assert_eq!(Capture::all().layers(text).unwrap_err().what, "--layers", "{text}");
        }
        assert!(Capture::all().sites("").is_err());
        assert!(Capture::all().sites("a,,b").is_err());
        let error = Capture::all().layers("0,2-7").unwrap().check(&config(7)).unwrap_err();
        assert_eq!(error.to_string(), "--layers: 7 is not a layer of the model, which has 0 to 6");
        assert!(Capture::all().layers("0-99999999999").unwrap().check(&config(7)).is_err());
        let error = Capture::all().sites("attn.*,attn.reverse").unwrap().check(&config(2)).unwrap_err();
        assert!(error.reason.contains("'attn.reverse' matches no tensor"), "{error}");
        assert!(Capture::all().sites("transformer.h.2.*").unwrap().check(&config(2)).is_err());
        assert!(Capture::only([Site::Block(Layer(2), BlockSite::Pattern)]).check(&config(2)).is_err());
        assert!(Capture::all().layers("0-1").unwrap().sites("*").unwrap().check(&config(2)).is_ok());
    }
}
