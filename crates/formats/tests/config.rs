//! `config.json`: what is taken over, and every way in which it can be wrong.

use retrograd_formats::{Config, parse_heads, parse_ids};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn good() -> Value {
    json!({"model_type": "gpt2", "vocab_size": 101, "n_positions": 32, "n_embd": 12, "n_layer": 2, "n_head": 3})
}

fn read(content: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), content).unwrap();
    Config::from_dir(dir.path()).map_err(|error| error.to_string())
}

fn with(field: &str, value: Value) -> Result<Config, String> {
    let mut config = good();
    config[field] = value;
    read(&config.to_string())
}

#[test]
fn defaults_are_those_of_gpt2() {
    let config = read(&good().to_string()).unwrap();
    assert_eq!(config.n_inner, 48);
    assert_eq!(config.head_dim(), 4);
    assert_eq!(config.layer_norm_epsilon, 1e-5);
    assert!(config.tie_word_embeddings);
    // 50256, the default, is outside this vocabulary.
    assert_eq!((config.bos_token_id, config.eos_token_id), (None, None));
    // By hand: (101 + 32)·12, two blocks of 4·144 + 2·576 + 9·12 + 48, 24.
    assert_eq!(config.parameter_count(), 1596 + 2 * 1884 + 24);
}

#[test]
fn every_field_counts_and_comes_back() {
    let mut value = good();
    value["n_inner"] = json!(20);
    value["layer_norm_epsilon"] = json!(1e-6);
    value["bos_token_id"] = json!(3);
    value["eos_token_id"] = json!([7, 8]);
    value["tie_word_embeddings"] = json!(false);
    value["reorder_and_upcast_attn"] = json!(true);
    let config = read(&value.to_string()).unwrap();
    assert_eq!(config.n_inner, 20);
    assert_eq!((config.bos_token_id, config.eos_token_id), (Some(3), Some(7)));
    assert!(!config.tie_word_embeddings);
    assert_eq!(read(&config.to_hf_json().to_string()).unwrap(), config);
    let plain = read(&good().to_string()).unwrap();
    assert_eq!(plain.to_hf_json()["n_inner"], Value::Null);
    assert_eq!(read(&plain.to_hf_json().to_string()).unwrap(), plain);
    assert!(with("n_inner", Value::Null).is_ok());
    assert_eq!(with("eos_token_id", Value::Null).unwrap().eos_token_id, None);
    assert_eq!(with("eos_token_id", json!(-1)).unwrap().eos_token_id, None);
}

#[test]
fn a_model_type_may_be_left_to_the_architectures() {
    let mut value = good();
    value.as_object_mut().unwrap().remove("model_type");
    assert!(read(&value.to_string()).unwrap_err().contains("model_type is missing"));
    value["architectures"] = json!(["GPT2LMHeadModel"]);
    assert!(read(&value.to_string()).is_ok());
}

#[test]
fn directories_without_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let error = Config::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("no config.json in") && error.contains("not a Hugging Face model directory"),
        "{error}"
    );
    let error = Config::from_dir(Path::new("/absent/model")).unwrap_err().to_string();
    assert_eq!(error, "/absent/model: there is no such directory");
    assert!(Config::from_file(Path::new("/absent/config.json")).is_err());
}

#[test]
fn not_json() {
    for content in ["", "{", "n_embd: 4", "{\"n_embd\": }", "\u{0}\u{1}"] {
        let error = read(content).unwrap_err();
        assert!(error.contains("config.json") && error.contains("not JSON"), "{error}");
    }
    assert!(read("[1]").unwrap_err().contains("not a JSON object"));
    assert!(read(&"[".repeat(5000)).unwrap_err().contains("not JSON"));
    assert!(read(&"[".repeat(100_000)).unwrap_err().contains("about 100001 values"));
}

#[test]
fn missing_and_absurd_sizes_are_named() {
    for field in ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"] {
        let mut value = good();
        value.as_object_mut().unwrap().remove(field);
        let error = read(&value.to_string()).unwrap_err();
        assert!(error.contains(&format!("{field} is missing")), "{error}");
        let absurd = [
            json!(0),
            json!(-3),
            json!(1.5),
            json!("12"),
            json!(u64::MAX),
            json!(1u64 << 40),
            json!([1]),
            json!(1e300),
        ];
        for bad in absurd {
            let error = with(field, bad.clone()).unwrap_err();
            assert!(
                error.contains(&format!("{field} is {bad}")) && error.contains("whole number"),
                "{error}"
            );
        }
    }
    assert!(with("n_inner", json!(0)).unwrap_err().contains("n_inner is 0"));
    assert!(with("n_inner", json!(-1)).unwrap_err().contains("n_inner is -1"));
    let error = with("n_head", json!(5)).unwrap_err();
    assert!(error.contains("n_head of 5 does not divide n_embd of 12"), "{error}");
    assert!(with("n_head", json!("x".repeat(5000))).unwrap_err().len() < 300);
    // The largest that is allowed overflows nothing.
    let mut value = good();
    for (field, size) in [
        ("vocab_size", 1 << 22),
        ("n_positions", 1 << 20),
        ("n_embd", 1 << 16),
        ("n_layer", 1 << 10),
        ("n_inner", 1 << 18),
    ] {
        value[field] = json!(size);
    }
    value["n_head"] = json!(16);
    assert!(read(&value.to_string()).unwrap().parameter_count() > 1 << 40);
}

#[test]
fn other_architectures_and_options() {
    let error = with("model_type", json!("llama")).unwrap_err();
    assert!(error.contains("is a 'llama' model; only GPT-2 ('gpt2') is supported"), "{error}");
    for (field, bad) in [
        ("model_type", json!(3)),
        ("activation_function", json!("relu")),
        ("activation_function", json!("gelu")),
        ("add_cross_attention", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(true)),
        ("scale_attn_weights", json!(false)),
        ("scale_attn_weights", json!("yes")),
        ("tie_word_embeddings", json!(1)),
        ("layer_norm_epsilon", json!(0)),
        ("layer_norm_epsilon", json!(-1e-5)),
        ("layer_norm_epsilon", json!("1e-5")),
        ("bos_token_id", json!("a")),
    ] {
        let error = with(field, bad).unwrap_err();
        assert!(error.contains("config.json") && error.contains(field), "{field}: {error}");
    }
    // 1e999 is not a number that JSON's readers can hold.
    let infinite = good().to_string().replace('}', ", \"layer_norm_epsilon\": 1e999}");
    assert!(read(&infinite).is_err());
}

#[test]
fn ids_and_heads_on_the_command_line() {
    assert_eq!(parse_ids("15496, 995").unwrap().iter().map(|id| id.0).collect::<Vec<_>>(), [15496, 995]);
    for bad in ["", " ", "1,", "a", "-1", "1.5", "4294967296", "1 2"] {
        let error = parse_ids(bad).unwrap_err();
        assert_eq!(error.what, "--ids", "{bad}");
    }
    assert_eq!(parse_heads("0.1,3.7").unwrap()[1].to_string(), "L3H7");
    for bad in ["", "3", "3.", ".7", "3.7.1", "-1.2", "a.b"] {
        assert!(parse_heads(bad).is_err(), "{bad}");
    }
}
