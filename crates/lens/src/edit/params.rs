//! Linear layers by name.

use retrograd_formats::{Config, Layer, LinearKind, LinearLayer, RequestError};

/// The linear layers that a list of names means: `mlp`, `attn`, `all`, a kind such as `mlp.c_proj` (of every
/// block), or one layer by its module path, `transformer.h.3.mlp.c_proj` (also without `transformer.`). In the
/// order of the forward pass, each once; only those of `blocks`, if given.
///
/// # Errors
/// A name that means nothing is an error that lists what there is.
pub fn parse_params(
    names: &[String],
    config: &Config,
    blocks: Option<&[usize]>,
) -> Result<Vec<LinearLayer>, RequestError> {
    let all: Vec<LinearLayer> = (0..config.n_layer)
        .flat_map(|layer| LinearKind::ALL.map(|kind| LinearLayer::Block(Layer(layer), kind)))
        .collect();
    let mut chosen = Vec::new();
    for name in names.iter().flat_map(|names| names.split(',')).map(str::trim) {
        let matching: Vec<LinearLayer> = all.iter().copied().filter(|layer| means(name, *layer)).collect();
        if matching.is_empty() {
            return Err(RequestError::invalid("--params", unknown(name, config)));
        }
        chosen.extend(matching);
    }
    let in_blocks = |layer: &LinearLayer| match (blocks, layer) {
        (Some(blocks), LinearLayer::Block(Layer(index), _)) => blocks.contains(index),
        _ => true,
    };
    Ok(all.into_iter().filter(|layer| chosen.contains(layer) && in_blocks(layer)).collect())
}

fn means(name: &str, layer: LinearLayer) -> bool {
    let LinearLayer::Block(_, kind) = layer else { return false };
    let path = layer.to_string();
    match name {
        "all" => true,
        "attn" | "mlp" => kind.suffix().starts_with(name),
        _ => kind.suffix() == name || path == name || path.strip_prefix("transformer.") == Some(name),
    }
}

fn unknown(name: &str, config: &Config) -> String {
    let kinds = LinearKind::ALL.map(LinearKind::suffix).join(", ");
    let last = config.n_layer - 1;
    format!(
        "'{name}' is none of mlp, attn, all, {kinds}, or one layer as in transformer.h.0.mlp.c_proj \
         (the model has layers 0 to {last})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str], blocks: Option<&[usize]>) -> Result<Vec<String>, String> {
        let config = Config {
            vocab_size: 10,
            n_positions: 4,
            n_embd: 4,
            n_layer: 2,
            n_head: 1,
            n_inner: 16,
            layer_norm_epsilon: 1e-5,
            bos_token_id: None,
            eos_token_id: None,
            tie_word_embeddings: true,
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let layers = parse_params(&names, &config, blocks).map_err(|error| error.to_string())?;
        Ok(layers.iter().map(|layer| layer.to_string().replace("transformer.h.", "")).collect())
    }

    #[test]
    fn groups_kinds_and_single_layers() {
        assert_eq!(
            parse(&["mlp"], None).unwrap(),
            ["0.mlp.c_fc", "0.mlp.c_proj", "1.mlp.c_fc", "1.mlp.c_proj"]
        );
        assert_eq!(parse(&["attn"], Some(&[1])).unwrap(), ["1.attn.c_attn", "1.attn.c_proj"]);
        assert_eq!(parse(&["all"], None).unwrap().len(), 8);
        assert_eq!(parse(&["mlp.c_proj"], None).unwrap(), ["0.mlp.c_proj", "1.mlp.c_proj"]);
        let one = ["transformer.h.1.mlp.c_fc,h.0.attn.c_attn", "h.1.mlp.c_fc"];
        assert_eq!(parse(&one, None).unwrap(), ["0.attn.c_attn", "1.mlp.c_fc"]);
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        for name in ["mpl", "", "lm_head", "transformer.h.2.mlp.c_fc"] {
            let error = parse(&[name], None).unwrap_err();
            for part in [&format!("'{name}'"), "attn.c_attn", "mlp, attn, all", "0 to 1"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
