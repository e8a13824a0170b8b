//! Copies of a small fixture with something wrong in them.

use crate::harness::fixture;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// A model directory that a test may damage.
pub struct ModelDir(tempfile::TempDir);

impl ModelDir {
    /// A sound copy of a fixture.
    pub fn copy_of(name: &str) -> ModelDir {
        let dir = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(fixture(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        ModelDir(dir)
    }

    /// The smallest: one layer, one head, 131 tokens, 16 positions.
    pub fn small() -> ModelDir {
        ModelDir::copy_of("one_head")
    }

    pub fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.file(name), content).unwrap();
    }

    /// Changes a field of `config.json`.
    pub fn set(self, field: &str, value: Value) -> ModelDir {
        let mut config: Value = serde_json::from_slice(&fs::read(self.file("config.json")).unwrap()).unwrap();
        config[field] = value;
        self.write("config.json", config.to_string().as_bytes());
        self
    }

    /// The weights' header and the bytes behind it.
    pub fn weights(&self) -> (Value, Vec<u8>) {
        let bytes = fs::read(self.file("model.safetensors")).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        (serde_json::from_slice(&bytes[8..8 + length]).unwrap(), bytes[8 + length..].to_vec())
    }

    /// Writes the weights with this header.
    pub fn set_weights(&self, header: &Value, data: &[u8]) {
        let header = header.to_string();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
        self.write("model.safetensors", &bytes);
    }

    /// Changes the header of the weights.
    pub fn change_header(self, change: impl FnOnce(&mut Value)) -> ModelDir {
        let (mut header, data) = self.weights();
        change(&mut header);
        self.set_weights(&header, &data);
        self
    }

    /// Overwrites element `at` of an F32 tensor.
    pub fn set_element(self, tensor: &str, at: usize, value: f32) -> ModelDir {
        let (header, mut data) = self.weights();
        let start = header[tensor]["data_offsets"][0].as_u64().unwrap() as usize + 4 * at;
        data[start..start + 4].copy_from_slice(&value.to_le_bytes());
        self.set_weights(&header, &data);
        self
    }

    /// Replaces the weights by an index of shards.
    pub fn set_index(self, tensor: &str, shard: &str) -> ModelDir {
        let index = json!({"metadata": {"total_size": 1}, "weight_map": {tensor: shard}});
        fs::remove_file(self.file("model.safetensors")).unwrap();
        self.write("model.safetensors.index.json", index.to_string().as_bytes());
        self
    }
}
