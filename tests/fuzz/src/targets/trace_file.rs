//! Trace files, and what is taken from them: patches, reference gradients.

use super::safetensors::assemble;
use super::{files, sound};
use retrograd_formats::trace_file::{self, TraceFile, load_patch};
use retrograd_formats::{Config, PatchMap, ReferenceFile, ReferenceName, Site, TraceRead};

const NAMES: [&str; 2] = ["trace.safetensors", "config.json"];

/// The model that patches are for where the input names none: 2 blocks, 2 heads.
const CONFIG: &[u8] =
    br#"{"model_type": "gpt2", "vocab_size": 5, "n_positions": 4, "n_embd": 2, "n_layer": 2, "n_head": 2}"#;

/// Opens a trace, reads everything in it and writes it again; takes it for a patch and for reference gradients.
pub fn trace_file(bytes: &[u8]) {
    let mut found = files::split(bytes, &NAMES);
    let whole = found.iter().find(|(name, _)| *name == NAMES[0]).map_or(&[][..], |(_, content)| content);
    let file = assemble(NAMES[0], whole);
    found.retain(|(name, _)| *name == NAMES[1]);
    if found.is_empty() {
        found.push((NAMES[1], CONFIG));
    }
    found.push((NAMES[0], &file));
    let directory = files::directory(&found);
    let path = directory.path().join(NAMES[0]);

    if let Some(trace) = sound(TraceFile::open(&path)) {
        let (meta, sites) = (trace.meta(), trace.sites());
        assert!(!meta.ids.is_empty() && meta.ids.len() <= meta.config.n_positions);
        assert!(meta.objective.first_position + meta.objective.count <= meta.ids.len());
        for (site, tensor) in sites.iter().zip(trace.read_all(&sites).expect("tensors that were checked")) {
            let elements = tensor.as_f32().len() + tensor.as_u32().len();
            assert_eq!(elements, tensor.shape.iter().product::<usize>());
            assert_eq!(tensor.shape, site.shape(&meta.config, meta.ids.len(), meta.objective.count));
        }
        sound(trace.read(Site::LnFInput));
        sound(trace.loss());
        let again = directory.path().join("again.safetensors");
        trace_file::write(&again, &trace).expect("writing a trace");
        let copy = TraceFile::open(&again).expect("our own file");
        assert_eq!((copy.sites(), &copy.meta().ids), (sites, &meta.ids));
        assert_eq!(copy.meta().objective.to_json(), meta.objective.to_json());
    }

    let Some(config) = sound(Config::from_dir(directory.path())) else { return };
    for map in [PatchMap::Reversed, PatchMap::Forward] {
        for tokens in [1, 3] {
            let Some(patch) = sound(load_patch(&path, map, -2.0, &config, tokens)) else { continue };
            assert!(patch.maps.keys().all(|layer| *layer < config.n_layer));
            for map in patch.maps.values() {
                assert_eq!(map.len(), config.n_head * tokens * tokens);
                assert!(map.iter().all(|x| x.is_finite()));
            }
        }
    }
    if let Some(reference) = sound(ReferenceFile::open(&path)) {
        reference.objective();
        let (known, _) = reference.names(&config);
        let tokens = reference.tokens().map_or(1, <[_]>::len);
        for name in known {
            if let Some(tensor) = sound(reference.tensor(&name, &name.shape(&config, tokens, 1))) {
                assert!(tensor.values.iter().all(|value| value.is_finite()));
            }
        }
        sound(reference.tensor(&ReferenceName::Site(Site::Loss), &[1]));
    }
}
