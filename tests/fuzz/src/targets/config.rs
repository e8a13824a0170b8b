//! `config.json`.

use super::{files, sound};
use retrograd_formats::{Config, Weights};

/// Reads a `config.json`; what is accepted must survive being written and read again.
pub fn config(bytes: &[u8]) {
    let directory = files::directory(&[("config.json", bytes)]);
    let Some(config) = sound(Config::from_dir(directory.path())) else { return };
    assert!(config.n_head > 0 && config.n_embd == config.n_head * config.head_dim());
    assert!(config.vocab_size > 0 && config.n_positions > 0 && config.n_layer > 0 && config.n_inner > 0);
    assert!(config.layer_norm_epsilon.is_finite() && config.layer_norm_epsilon > 0.0);
    assert!(config.parameter_count() < usize::MAX / 4);
    for id in config.bos_token_id.iter().chain(&config.eos_token_id) {
        assert!((*id as usize) < config.vocab_size);
    }
    let names = Weights::parameter_names(&config, !config.tie_word_embeddings);
    let counted: usize =
        names.iter().map(|name| Weights::parameter_shape(&config, name).iter().product::<usize>()).sum();
    assert_eq!(counted, config.parameter_count());

    let path = directory.path().join("again.json");
    std::fs::write(&path, config.to_hf_json().to_string()).expect("writing a file");
    assert_eq!(Config::from_file(&path).expect("our own file"), config);
}
