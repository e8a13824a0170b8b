//! Which tensors of a trace can be read in the vocabulary, and which are by default.

use retrograd_formats::{BlockSite, Capture, RequestError, Site};

/// The two tables of the Backward Lens paper: what the MLP's first matrix reads, and what is written to its second.
pub const DEFAULT_LENS_SITES: [BlockSite; 2] = [BlockSite::FcInput, BlockSite::MlpProjDelta];

/// Whether a tensor of a block has one vector of the model's width at each position.
pub fn is_readable(site: BlockSite) -> bool {
    matches!(
        site,
        BlockSite::CAttnInput
            | BlockSite::AttnProjInput
            | BlockSite::AttnProjDelta
            | BlockSite::FcInput
            | BlockSite::MlpProjDelta
            | BlockSite::ResidPre
            | BlockSite::ResidMid
            | BlockSite::ResidPost
            | BlockSite::ResidPreDelta
            | BlockSite::ResidMidDelta
            | BlockSite::ResidPostDelta
    )
}

/// The readable tensors of a model with `n_layer` blocks whose name matches `glob` (as [`Capture::sites`] reads it),
/// or the default ones; only those in `layers` (as [`Capture::layers`] reads them) where that is given.
///
/// ```
/// let sites = retrograd_lens::lens_sites(Some("mlp.c_*,resid_post"), Some("1"), 2)?;
/// let names: Vec<String> = sites.iter().map(|site| site.to_string()).collect();
/// assert_eq!(names[0], "transformer.h.1.mlp.c_fc.input");
/// assert_eq!(names.len(), 3);
/// # Ok::<(), retrograd_formats::RequestError>(())
/// ```
///
/// # Errors
/// When a pattern matches no tensor, or only tensors of other widths; when the model has no such layer.
pub fn lens_sites(
    glob: Option<&str>,
    layers: Option<&str>,
    n_layer: usize,
) -> Result<Vec<Site>, RequestError> {
    let in_layers = match layers {
        Some(layers) => Capture::all().layers(layers)?,
        None => Capture::all(),
    };
    in_layers.check_layers(n_layer)?;
    let all: Vec<Site> = Site::all(n_layer).into_iter().filter(|site| site.layer().is_some()).collect();
    let readable = |site: &Site| matches!(site, Site::Block(_, block) if is_readable(*block));
    let mut chosen: Vec<Site> = Vec::new();
    match glob {
        None => chosen.extend(
            all.iter()
                .filter(|site| matches!(site, Site::Block(_, block) if DEFAULT_LENS_SITES.contains(block))),
        ),
        Some(glob) => {
            for pattern in glob.split(',') {
                let capture = Capture::all().sites(pattern)?;
                let named: Vec<Site> = all.iter().copied().filter(|site| capture.keeps(*site)).collect();
                if !named.iter().any(readable) {
                    return Err(unreadable(pattern, named.first()));
                }
                chosen.extend(named.into_iter().filter(readable));
            }
        }
    }
    // In the order of a trace file, each once.
    Ok(all.into_iter().filter(|site| chosen.contains(site) && in_layers.keeps(*site)).collect())
}

fn unreadable(pattern: &str, named: Option<&Site>) -> RequestError {
    let names: Vec<&str> =
        BlockSite::ALL.into_iter().filter(|site| is_readable(*site)).map(BlockSite::suffix).collect();
    let reason = match named {
        Some(site) => format!("'{pattern}' names {site}, which is not as wide as the model's vectors"),
        None => format!("'{pattern}' matches no tensor of a block"),
    };
    RequestError::invalid(
        "--sites",
        format!("{reason}; what can be read in the vocabulary: {}", names.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use retrograd_formats::Layer;

    #[test]
    fn sites_by_name_and_layer() {
        let names = |glob, layers| -> Vec<String> {
            lens_sites(glob, layers, 3).unwrap().iter().map(Site::to_string).collect()
        };
        let default = names(None, None);
        assert_eq!(default.len(), 6);
        assert_eq!(default[0], "transformer.h.0.mlp.c_fc.input");
        assert_eq!(names(Some("resid_post"), Some("0,2")).len(), 2);
        assert_eq!(names(Some("mlp.*"), Some("1")).len(), 2);
        assert_eq!(names(Some("transformer.h.2.resid_*"), None).len(), 6);
        assert_eq!(names(Some("resid_post,resid_*"), Some("1")).len(), 6);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = |glob: &str| lens_sites(Some(glob), None, 2).unwrap_err().to_string();
        assert!(error("mlp.c_fc.delta").contains("not as wide"));
        assert!(error("attn.revered").contains("matches no tensor"));
        assert!(error("attn.c_attn.delta").contains("mlp.c_proj.delta"));
        assert!(error("mlp.c_fc.input,").contains("empty"));
        assert!(lens_sites(None, Some("2"), 2).unwrap_err().to_string().contains("0 to 1"));
        assert!(lens_sites(None, Some("x"), 2).is_err());
    }

    #[test]
    fn readable_means_the_models_width_at_each_position() {
        let config = retrograd_formats::Config {
            vocab_size: 11,
            n_positions: 8,
            n_embd: 6,
            n_layer: 1,
            n_head: 3,
            n_inner: 24,
            layer_norm_epsilon: 1e-5,
            bos_token_id: None,
            eos_token_id: None,
            tie_word_embeddings: true,
        };
        for site in BlockSite::ALL {
            let shape = Site::Block(Layer(0), site).shape(&config, 5, 1);
            assert_eq!(is_readable(site), shape == [5, 6], "{}", site.suffix());
        }
    }
}
