//! Weights in all the forms in which they come, and every way in which they can be broken.

use half::{bf16, f16};
use retrograd_formats::{Config, Dtype, Weights, write_model_weights};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fs;
use std::path::Path;

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn config() -> Config {
    Config {
        vocab_size: 7,
        n_positions: 5,
        n_embd: 6,
        n_layer: 2,
        n_head: 3,
        n_inner: 10,
        layer_norm_epsilon: 1e-5,
        bos_token_id: None,
        eos_token_id: None,
        tie_word_embeddings: true,
    }
}

/// Every parameter with values of its own.
fn tensors(config: &Config) -> Tensors {
    let names = Weights::parameter_names(config, !config.tie_word_embeddings);
    let fill = |(i, name): (usize, String)| {
        let shape = Weights::parameter_shape(config, &name);
        let values = (0..shape.iter().product::<usize>()).map(|j| i as f32 + j as f32 / 1024.0).collect();
        (name, shape, values)
    };
    names.into_iter().enumerate().map(fill).collect()
}

fn write(path: &Path, tensors: &Tensors, dtype: Dtype) {
    let borrowed: Vec<_> =
        tensors.iter().map(|(name, shape, x)| (name.clone(), shape.clone(), &x[..])).collect();
    write_model_weights(path, &borrowed, dtype).unwrap();
}

/// The error of opening `tensors`, after `change`.
fn error_of(change: impl FnOnce(&mut Tensors)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut changed = tensors(&config());
    change(&mut changed);
    write(&dir.path().join("model.safetensors"), &changed, Dtype::F32);
    Weights::open(dir.path(), &config()).unwrap_err().to_string()
}

/// The error of opening a file with these bytes.
fn error_of_bytes(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
    let error = Weights::open(dir.path(), &config()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors: "), "{error}");
    error
}

fn good_bytes() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write(&path, &tensors(&config()), Dtype::F32);
    fs::read(path).unwrap()
}

/// `bytes` with its header replaced by what `change` makes of it.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = header.to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&bytes[8 + length..]);
    out
}

#[test]
fn every_parameter_is_there_in_order() {
    let config = config();
    let names = Weights::parameter_names(&config, true);
    assert_eq!(names.len(), 2 + 2 * 12 + 2 + 1);
    assert_eq!(names[2], "transformer.h.0.ln_1.weight");
    assert_eq!(names.last().unwrap(), "lm_head.weight");
    let counted: usize = names[..names.len() - 1]
        .iter()
        .map(|n| Weights::parameter_shape(&config, n).iter().product::<usize>())
        .sum();
    assert_eq!(counted, config.parameter_count());
    let untied = Config { tie_word_embeddings: false, ..config.clone() };
    assert_eq!(untied.parameter_count(), counted + 7 * 6);
    assert!(Weights::parameter_shape(&config, "transformer.nonsense").is_empty());
}

#[test]
fn all_types_with_and_without_prefix() {
    let config = config();
    let written = tensors(&config);
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        for prefix in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let mut renamed = written.clone();
            for (name, _, _) in renamed.iter_mut().filter(|_| !prefix) {
                *name = name.replace("transformer.", "");
            }
            // Buffers of older files; the first is no relation of `attn.c_attn.bias`.
            let p = if prefix { "transformer." } else { "" };
            renamed.push((format!("{p}h.0.attn.bias"), vec![1, 1, 2, 2], vec![1.0; 4]));
            renamed.push((format!("{p}h.0.attn.masked_bias"), vec![], vec![-1e4]));
            renamed.push(("score.weight".to_owned(), vec![0, 3], vec![]));
            // Tied weights win over a stored head, whatever its shape.
            renamed.push(("lm_head.weight".to_owned(), vec![2], vec![1.0, 2.0]));
            write(&dir.path().join("model.safetensors"), &renamed, dtype);
            let weights = Weights::open(dir.path(), &config).unwrap();
            assert!(!weights.untied_head());
            assert_eq!(weights.total_bytes(), (config.parameter_count() * dtype.size()) as u64);
            assert!(weights.get("lm_head.weight").is_err());
            assert!(weights.get("transformer.h.2.ln_1.bias").is_err());
            for (name, shape, values) in &written {
                let view = weights.get(name).unwrap();
                assert_eq!((&view.name, &view.shape, view.dtype), (name, shape, dtype));
                let stored: Vec<f32> = values
                    .iter()
                    .map(|&x| match dtype {
                        Dtype::F32 => x,
                        Dtype::F16 => f16::from_f32(x).to_f32(),
                        Dtype::BF16 => bf16::from_f32(x).to_f32(),
                    })
                    .collect();
                let read = view.to_f32().unwrap();
                assert_eq!(read, stored);
                assert_eq!(matches!(read, Cow::Borrowed(_)), dtype == Dtype::F32);
                assert_eq!(view.to_f64().unwrap(), stored.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
                let bits: Vec<u16> = stored.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
                assert_eq!(view.to_f16_bits().unwrap(), bits);
            }
        }
    }
}

#[test]
fn a_head_of_its_own() {
    let config = Config { tie_word_embeddings: false, ..config() };
    let dir = tempfile::tempdir().unwrap();
    let mut written = tensors(&config);
    write(&dir.path().join("model.safetensors"), &written, Dtype::F32);
    let weights = Weights::open(dir.path(), &config).unwrap();
    assert!(weights.untied_head());
    assert_eq!(weights.get("lm_head.weight").unwrap().shape, [7, 6]);
    written.pop();
    write(&dir.path().join("model.safetensors"), &written, Dtype::F32);
    // Absent means tied.
    assert!(!Weights::open(dir.path(), &config).unwrap().untied_head());
}

#[test]
fn numbers_that_lie_unaligned_are_copied() {
    let bytes = good_bytes();
    for blanks in 0..8 {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut shifted = ((length + blanks) as u64).to_le_bytes().to_vec();
        shifted.extend_from_slice(&bytes[8..8 + length]);
        shifted.extend(std::iter::repeat_n(b' ', blanks));
        shifted.extend_from_slice(&bytes[8 + length..]);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("model.safetensors"), shifted).unwrap();
        let weights = Weights::open(dir.path(), &config()).unwrap();
        let read = weights.get("transformer.wpe.weight").unwrap().to_f32().unwrap();
        assert_eq!(read[..], tensors(&config())[1].2[..]);
        assert_eq!(matches!(read, Cow::Borrowed(_)), blanks % 4 == 0);
    }
}

#[test]
fn values_that_are_not_finite_are_named() {
    for (dtype, broken) in [
        (Dtype::F32, f32::NAN.to_le_bytes().to_vec()),
        (Dtype::F32, f32::NEG_INFINITY.to_le_bytes().to_vec()),
        (Dtype::F16, f16::NAN.to_le_bytes().to_vec()),
        (Dtype::BF16, bf16::INFINITY.to_le_bytes().to_vec()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        write(&path, &tensors(&config()), dtype);
        let mut bytes = fs::read(&path).unwrap();
        // Element 3 from the end of the last tensor, transformer.ln_f.bias [6].
        let at = bytes.len() - 3 * dtype.size();
        bytes[at..at + dtype.size()].copy_from_slice(&broken);
        fs::write(&path, bytes).unwrap();
        let weights = Weights::open(dir.path(), &config()).unwrap();
        let view = weights.get("transformer.ln_f.bias").unwrap();
        for error in [view.to_f32().unwrap_err(), view.to_f64().unwrap_err(), view.to_f16_bits().unwrap_err()]
        {
            let error = error.to_string();
            assert!(error.contains("model.safetensors: transformer.ln_f.bias: element 3 is"), "{error}");
        }
    }
}

#[test]
fn f16_rounds_to_even_and_refuses_what_overflows() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = tensors(&config());
    let last = written.len() - 1;
    // Halfway between two neighbours twice, the largest that rounds down, the smallest subnormal's half.
    written[last].2 = vec![2049.0, 2051.0, 65519.0, 2f32.powi(-25), -0.0, 1.0];
    written[last - 1].2[4] = 65520.0;
    write(&dir.path().join("model.safetensors"), &written, Dtype::F32);
    let weights = Weights::open(dir.path(), &config()).unwrap();
    let bits = weights.get("transformer.ln_f.bias").unwrap().to_f16_bits().unwrap();
    let values: Vec<f32> = bits.iter().map(|&b| f16::from_bits(b).to_f32()).collect();
    assert_eq!(values, [2048.0, 2052.0, 65504.0, 0.0, -0.0, 1.0]);
    let error = weights.get("transformer.ln_f.weight").unwrap().to_f16_bits().unwrap_err().to_string();
    assert!(error.contains("transformer.ln_f.weight: element 4 is 65520, too large for f16"), "{error}");
    assert!(weights.get("transformer.ln_f.weight").unwrap().to_f32().is_ok());
}

#[test]
fn missing_and_wrong_tensors_are_named() {
    let error = error_of(|tensors| tensors.retain(|(name, _, _)| name != "transformer.h.1.mlp.c_fc.bias"));
    assert!(error.contains("model.safetensors: has no tensor transformer.h.1.mlp.c_fc.bias"), "{error}");
    let error = error_of(|tensors| tensors[4].1 = vec![18, 6]);
    assert!(error.contains("transformer.h.0.attn.c_attn.weight has shape [18, 6]"), "{error}");
    assert!(error.contains("asks for [6, 18]"), "{error}");
    // Larger than its data in every way: the header itself is refused.
    let bytes = with_header(&good_bytes(), |h| h["transformer.wte.weight"]["shape"] = json!([u64::MAX, 2]));
    assert!(error_of_bytes(&bytes).contains("damaged header"));
    for dtype in ["I32", "U32"] {
        let bytes = with_header(&good_bytes(), |h| h["transformer.wte.weight"]["dtype"] = json!(dtype));
        let error = error_of_bytes(&bytes);
        assert!(
            error.contains(&format!("transformer.wte.weight is of type {dtype}; only F32, F16")),
            "{error}"
        );
    }
    let bytes = with_header(&good_bytes(), |h| h["transformer.wte.weight"]["dtype"] = json!("NONSENSE"));
    assert!(error_of_bytes(&bytes).contains("damaged header"));
}

#[test]
fn damaged_files() {
    let good = good_bytes();
    assert!(error_of_bytes(b"").contains("is empty"));
    assert!(error_of_bytes(b"abc").contains("only 3 bytes"));
    assert!(error_of_bytes(&good[..good.len() - 1]).contains("is truncated"));
    assert!(error_of_bytes(&good[..100]).contains("truncated"));
    let mut longer = good.clone();
    longer.push(0);
    assert!(error_of_bytes(&longer).contains("1 bytes after its last tensor"));
    for length in [1u64 << 60, u64::MAX, 100_000_001] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert!(error_of_bytes(&bytes).contains(&format!("claims a header of {length} bytes")));
    }
    let mut bytes = good.clone();
    bytes[..8].copy_from_slice(&50_000_000u64.to_le_bytes());
    assert!(error_of_bytes(&bytes).contains("truncated"));
    for offsets in
        [json!([0, u64::MAX]), json!([1u64 << 40, 1u64 << 41]), json!([8, 0]), json!([-4, 0]), json!([0])]
    {
        let bytes = with_header(&good, |h| h["transformer.wte.weight"]["data_offsets"] = offsets);
        assert!(error_of_bytes(&bytes).contains("damaged header"));
    }
    // A last tensor that lies past the end in a consistent header.
    let bytes = with_header(&good, |h| {
        let start = h["transformer.ln_f.bias"]["data_offsets"][1].as_u64().unwrap();
        h["zzz"] = json!({"dtype": "F32", "shape": [1000], "data_offsets": [start, start + 4000]});
    });
    assert!(error_of_bytes(&bytes).contains("is truncated"));
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("model.safetensors")).unwrap();
    assert!(Weights::open(dir.path(), &config()).is_err());
}

/// Random bytes, and good bytes with random damage: errors or values, never a panic.
#[test]
fn random_damage_never_panics() {
    let good = good_bytes();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = move || {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let header = u64::from_le_bytes(good[..8].try_into().unwrap());
    for round in 0..400 {
        let bytes: Vec<u8> = if round % 4 == 0 {
            (0..random() % 4096).map(|_| random() as u8).collect()
        } else {
            let mut bytes = good.clone();
            for _ in 0..1 + random() % 8 {
                let at = (random() % (header + 8)) as usize;
                bytes[at] = random() as u8;
            }
            bytes
        };
        fs::write(&path, bytes).unwrap();
        if let Ok(weights) = Weights::open(dir.path(), &config()) {
            for name in Weights::parameter_names(&config(), false) {
                let _ = weights.get(&name).unwrap().to_f16_bits();
            }
        }
    }
}

#[test]
fn directories_without_weights() {
    let dir = tempfile::tempdir().unwrap();
    let error = Weights::open(dir.path(), &config()).unwrap_err().to_string();
    assert!(error.contains("neither model.safetensors nor model.safetensors.index.json"), "{error}");
    fs::write(dir.path().join("pytorch_model.bin"), b"").unwrap();
    assert!(Weights::open(dir.path(), &config()).unwrap_err().to_string().contains("save_pretrained"));
    let error = Weights::open(Path::new("/absent/model"), &config()).unwrap_err().to_string();
    assert_eq!(error, "/absent/model: there is no such directory");
}

const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

/// Two shards of different types and their index, after `change`.
fn sharded(change: impl FnOnce(&mut Value)) -> (tempfile::TempDir, Result<Weights, String>) {
    let dir = tempfile::tempdir().unwrap();
    let all = tensors(&config());
    let (one, two) = all.split_at(9);
    write(&dir.path().join(FIRST), &one.to_vec(), Dtype::F16);
    write(&dir.path().join(SECOND), &two.to_vec(), Dtype::F32);
    let place = |(i, (name, _, _)): (usize, &(String, Vec<usize>, Vec<f32>))| {
        (name.clone(), json!(if i < 9 { FIRST } else { SECOND }))
    };
    let map: serde_json::Map<String, Value> = all.iter().enumerate().map(place).collect();
    let mut index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    change(&mut index);
    fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    let weights = Weights::open(dir.path(), &config()).map_err(|error| error.to_string());
    (dir, weights)
}

#[test]
fn shards() {
    let (_dir, weights) = sharded(|_| {});
    let weights = weights.unwrap();
    assert_eq!(weights.get("transformer.wte.weight").unwrap().dtype, Dtype::F16);
    assert_eq!(weights.get("transformer.ln_f.bias").unwrap().dtype, Dtype::F32);
    assert_eq!(weights.get("transformer.ln_f.bias").unwrap().to_f32().unwrap().len(), 6);
}

#[test]
fn shards_that_lie_elsewhere_or_nowhere() {
    let name = "transformer.wte.weight";
    for outside in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", ".", "..\\x", "C:x"] {
        let (_dir, weights) = sharded(|index| index["weight_map"][name] = json!(outside));
        let error = weights.unwrap_err();
        assert!(
            error.contains("index.json") && error.contains("in the same directory"),
            "{outside}: {error}"
        );
    }
    let (_dir, weights) = sharded(|index| index["weight_map"][name] = json!("absent.safetensors"));
    assert!(weights.unwrap_err().contains("'absent.safetensors', which is not in the directory"));
    let (_dir, weights) = sharded(|index| index["weight_map"][name] = json!(SECOND));
    assert!(weights.unwrap_err().contains(&format!("says that {name} is in '{SECOND}', but it is not")));
    let (_dir, weights) = sharded(|index| index["weight_map"][name] = json!(3));
    assert!(weights.unwrap_err().contains("not a file name"));
    let (_dir, weights) = sharded(|index| index["weight_map"] = json!([]));
    assert!(weights.unwrap_err().contains("has no weight_map"));
    let (_dir, weights) = sharded(|index| index["weight_map"] = json!({}));
    assert!(weights.unwrap_err().contains("has no tensor transformer.wte.weight"));
    let (_dir, weights) = sharded(|index| *index = json!(null));
    assert!(weights.is_err());
}

#[test]
fn writing_refuses_what_could_not_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.safetensors");
    let fail = |tensors: &[(String, Vec<usize>, &[f32])], dtype| {
        let error = write_model_weights(&path, tensors, dtype).unwrap_err().to_string();
        assert!(!path.exists());
        error
    };
    let a = || "a".to_owned();
    assert!(fail(&[(a(), vec![3], &[1.0])], Dtype::F32).contains("a: 1 values do not fill the shape [3]"));
    assert!(fail(&[(a(), vec![usize::MAX, 2], &[1.0])], Dtype::F32).contains("do not fill"));
    assert!(fail(&[(a(), vec![1], &[f32::NAN])], Dtype::F32).contains("a: element 0 is NaN"));
    assert!(fail(&[(a(), vec![1], &[1e6])], Dtype::F16).contains("too large for F16"));
    assert!(fail(&[(a(), vec![1], &[f32::MAX])], Dtype::BF16).contains("too large for BF16"));
    assert!(fail(&[(a(), vec![1], &[1.0]), (a(), vec![1], &[1.0])], Dtype::F32).contains("given twice"));
    write_model_weights(&path, &[("quote \" and \\".to_owned(), vec![], &[1.0])], Dtype::F32).unwrap();
    let bytes = fs::read(&path).unwrap();
    let parsed = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(parsed.names(), ["quote \" and \\"]);
}
