//! Weights: one file or shards, and what else is kept as safetensors.

use super::{files, sound};
use retrograd_formats::tensor_file::TensorFile;
use retrograd_formats::{Config, ReferenceFile, TensorEdit, Weights, write_edited_model};

const NAMES: [&str; 5] =
    ["model.safetensors", "model.safetensors.index.json", "a.safetensors", "b.safetensors", "config.json"];

/// One block of width 2 with 3 tokens: its files are small enough to be varied.
pub(crate) const CONFIG: &[u8] =
    br#"{"model_type": "gpt2", "vocab_size": 3, "n_positions": 2, "n_embd": 2, "n_layer": 1,
    "n_head": 1, "n_inner": 2, "tie_word_embeddings": false}"#;

/// Opens a model's weights and reads them all; opens each file as what else it could be.
pub fn safetensors(bytes: &[u8]) {
    let mut found = files::split(bytes, &NAMES);
    if !found.iter().any(|(name, _)| *name == "config.json") {
        found.push(("config.json", CONFIG));
    }
    let assembled: Vec<Vec<u8>> = found.iter().map(|(name, content)| assemble(name, content)).collect();
    let found: Vec<(&str, &[u8])> =
        found.iter().zip(&assembled).map(|((name, _), content)| (*name, &content[..])).collect();
    let directory = files::directory(&found);
    for (name, _) in found.iter().filter(|(name, _)| name.ends_with(".safetensors")) {
        let path = directory.path().join(name);
        if let Some(file) = sound(TensorFile::open(&path)) {
            file.metadata("step");
            for (name, shape) in [("parameter.transformer.wte.weight", &[3, 2][..]), ("a", &[]), ("b", &[0])]
            {
                if let Some(values) = sound(file.values(name, shape)) {
                    assert_eq!(values.len(), shape.iter().product::<usize>());
                }
            }
        }
        sound(ReferenceFile::open(&path));
    }
    let Some(config) = sound(Config::from_dir(directory.path())) else { return };
    let Some(weights) = sound(Weights::open(directory.path(), &config)) else { return };
    let names = Weights::parameter_names(&config, weights.untied_head());
    let mut finite = true;
    for name in &names {
        let view = weights.get(name).expect("a parameter that was found before");
        let elements: usize = view.shape.iter().product();
        assert_eq!(view.bytes.len(), elements * view.dtype.size());
        let values = sound(view.to_f32());
        finite &= values.is_some();
        if let Some(values) = values {
            assert!(values.len() == elements && values.iter().all(|x| x.is_finite()));
        }
        sound(view.to_f16_bits());
    }
    if !finite {
        return;
    }
    let name = names.last().expect("a model has parameters");
    let before = weights.get(name).and_then(|view| Ok(view.to_f32()?.into_owned())).expect("read before");
    let after: Vec<f32> = before.iter().map(|x| x * 0.5 + 0.25).collect();
    let edit = TensorEdit { name, before: &before, after: &after };
    let target = directory.path().join("edited");
    if sound(write_edited_model(directory.path(), &target, &[edit], &[])).is_some() {
        Weights::open(&target, &config).expect("an edited model is a model");
    }
}

/// A weight file may be given as what it is, or as its header in JSON, whose length is then put before it: at once
/// readable and easier to vary. The tensors' bytes are zeros then, as many as the header's ranges reach.
pub(crate) fn assemble(name: &str, content: &[u8]) -> Vec<u8> {
    if !name.ends_with(".safetensors") || content.first() != Some(&b'{') {
        return content.to_vec();
    }
    // Zeros for a file of any size would be ours, not the reader's.
    const MOST: u64 = 1 << 16;
    let header: Option<serde_json::Value> = serde_json::from_slice(content).ok();
    let tensors = header.as_ref().and_then(|header| header.as_object()).into_iter().flatten();
    let ends = tensors.filter_map(|(_, tensor)| tensor.get("data_offsets")?.get(1)?.as_u64());
    let zeros = ends.filter(|end| *end <= MOST).max().unwrap_or(0) as usize;
    let mut file = (content.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(content);
    file.resize(file.len() + zeros, 0);
    file
}
