//! Trace files: written, read back, patched from; and what is refused.

use retrograd_formats::trace_file::{self, TraceFile, load_patch};
use retrograd_formats::{
    BlockSite, Capture, Config, HostTensor, Interventions, Layer, Objective, PatchMap, RequestError, Site,
    TensorData, TokenId, TraceMeta, TraceRead, TraceRequest,
};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn config() -> Config {
    Config {
        vocab_size: 11,
        n_positions: 8,
        n_embd: 6,
        n_layer: 2,
        n_head: 3,
        n_inner: 10,
        layer_norm_epsilon: 1e-5,
        bos_token_id: None,
        eos_token_id: Some(2),
        tie_word_embeddings: true,
    }
}

/// A trace with made-up numbers, causal where it must be.
struct Made {
    meta: TraceMeta,
    capture: Capture,
    broken: Option<Site>,
}

impl Made {
    fn new(request: &TraceRequest) -> Self {
        let config = config();
        let meta = TraceMeta {
            model: "made".to_owned(),
            prompt: Some("a \"prompt\"\nüber".to_owned()),
            ids: request.ids.clone(),
            objective: request.resolve(&config).unwrap(),
            adapter: "none".to_owned(),
            driver: "none 1.0".to_owned(),
            config,
        };
        Made { meta, capture: request.capture.clone(), broken: None }
    }

    fn tensor(&self, site: Site) -> HostTensor {
        if site == Site::Tokens {
            let ids: Vec<u32> = self.meta.ids.iter().map(|id| id.0).collect();
            return HostTensor::u32([ids.len()], ids);
        }
        let t = self.meta.ids.len();
        let shape = site.shape(&self.meta.config, t, self.meta.objective.count);
        let seed = site.to_string().bytes().map(usize::from).sum::<usize>();
        let mut values: Vec<f32> =
            (0..shape.iter().product()).map(|i| ((seed + i) % 97) as f32 / 7.0 - 5.0).collect();
        if let Site::Block(_, BlockSite::Pattern | BlockSite::Reversed) = site {
            for (i, value) in values.iter_mut().enumerate() {
                if i % t > (i / t) % t {
                    *value = 0.0;
                }
            }
        }
        HostTensor::f32(shape, values)
    }
}

impl TraceRead for Made {
    fn meta(&self) -> &TraceMeta {
        &self.meta
    }

    fn sites(&self) -> Vec<Site> {
        Site::all(self.meta.config.n_layer).into_iter().filter(|site| self.capture.keeps(*site)).collect()
    }

    fn read_all(&self, sites: &[Site]) -> Result<Vec<HostTensor>, RequestError> {
        if let Some(site) = sites.iter().find(|site| Some(**site) == self.broken) {
            return Err(RequestError::invalid(site.to_string(), "device lost"));
        }
        Ok(sites.iter().map(|site| self.tensor(*site)).collect())
    }
}

fn ids() -> Vec<TokenId> {
    [3, 1, 4, 1, 5].map(TokenId).to_vec()
}

fn written(request: &TraceRequest) -> (tempfile::TempDir, PathBuf, Made) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.safetensors");
    let made = Made::new(request);
    trace_file::write(&path, &made).unwrap();
    (dir, path, made)
}

#[test]
fn what_is_written_comes_back() {
    let delta: Vec<f32> = (0..2 * 11).map(|i| i as f32).collect();
    for objective in [
        Objective::Target(TokenId(9)),
        Objective::Completion { start: 3 },
        Objective::NextToken,
        Objective::LogitDifference { token: TokenId(1), minus: TokenId(2) },
        Objective::Delta { first_position: 2, delta },
    ] {
        let (_dir, path, made) = written(&TraceRequest::new(ids(), objective.clone()));
        let trace = TraceFile::open(&path).unwrap();
        let (read, meta) = (trace.meta(), &made.meta);
        assert_eq!((&read.ids, &read.config, &read.prompt), (&meta.ids, &meta.config, &meta.prompt));
        assert_eq!((&read.model, &read.adapter, &read.driver), (&meta.model, &meta.adapter, &meta.driver));
        let mut expected = meta.objective.clone();
        if let Objective::Delta { delta, .. } = &mut expected.objective {
            // The file's own δ counts, which here are made-up numbers.
            *delta = made.tensor(Site::LmHeadDelta).as_f32().to_vec();
        }
        assert_eq!(read.objective, expected);
        assert_eq!(trace.sites(), Site::all(2));
        for site in trace.sites() {
            assert_eq!(trace.read(site).unwrap(), made.tensor(site), "{site}");
        }
        assert_eq!(trace.loss().unwrap(), made.tensor(Site::Loss).as_f32()[0]);
    }
}

#[test]
fn the_file_is_plain_safetensors_with_the_documented_metadata() {
    let request = TraceRequest::new(ids(), Objective::Target(TokenId(9)));
    let (_dir, path, made) = written(&request);
    let bytes = fs::read(&path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let mut keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["adapter", "config", "driver", "format", "model", "objective", "prompt", "retrograd", "reversed"]
    );
    assert_eq!(metadata["format"], "retrograd-trace/1");
    assert_eq!(metadata["reversed"], "dL/d(q.kT), includes 1/sqrt(d_head), sign of the loss gradient");
    let objective: Value = serde_json::from_str(&metadata["objective"]).unwrap();
    assert_eq!((&objective["positions"], &objective["targets"]), (&json!([4]), &json!([9])));
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("tokens").unwrap().dtype(), safetensors::Dtype::U32);
    assert_eq!(tensors.tensor("transformer.h.1.attn.reversed").unwrap().shape(), [3, 5, 5]);
    // The same trace gives the same bytes.
    trace_file::write(&path, &made).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn what_was_not_captured_is_an_error_that_says_how() {
    let capture = Capture::all().layers("1").unwrap().sites("attn.reversed").unwrap();
    let (_dir, path, _) = written(&TraceRequest::new(ids(), Objective::NextToken).capture(capture));
    let trace = TraceFile::open(&path).unwrap();
    assert_eq!(trace.sites(), [Site::Tokens, Site::Loss, Site::Block(Layer(1), BlockSite::Reversed)]);
    let error = trace.read(Site::Logits).unwrap_err().to_string();
    assert!(error.contains("logits: is not in") && error.contains("--sites"), "{error}");
    let none = TraceRequest::new(ids(), Objective::Target(TokenId(0))).capture(Capture::none());
    let (_dir, path, _) = written(&none);
    assert_eq!(TraceFile::open(&path).unwrap().sites(), [Site::Tokens, Site::Loss]);
}

#[test]
fn a_trace_that_cannot_be_read_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.safetensors");
    let mut made = Made::new(&TraceRequest::new(ids(), Objective::NextToken));
    made.broken = Some(Site::LmHeadDelta);
    let error = trace_file::write(&path, &made).unwrap_err().to_string();
    assert_eq!(error, "lm_head.delta: device lost");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(trace_file::write(&dir.path().join("absent/x"), &made).is_err());
}

/// The file at `path` with its header replaced by what `change` makes of it.
fn change_header(path: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = header.to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&bytes[8 + length..]);
    fs::write(path, out).unwrap();
}

#[test]
fn damaged_traces_are_errors() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 20] = [
        (|h| h["__metadata__"] = json!({}), "is not a trace file"),
        (|h| h["__metadata__"]["format"] = json!("retrograd-trace/2"), "'retrograd-trace/2'"),
        (|h| drop(h["__metadata__"].as_object_mut().unwrap().remove("config")), "no 'config'"),
        (|h| drop(h["__metadata__"].as_object_mut().unwrap().remove("model")), "no 'model'"),
        (|h| h["__metadata__"]["config"] = json!("{"), "'config' in its metadata is not JSON"),
        (|h| h["__metadata__"]["config"] = json!("{}"), "model_type is missing"),
        (|h| h["__metadata__"]["objective"] = json!("nonsense"), "'objective' in its metadata is not JSON"),
        (|h| h["__metadata__"]["objective"] = json!("{}"), "'objective' in its metadata is damaged"),
        (
            |h| h["__metadata__"]["objective"] = json!(r#"{"kind":"target","positions":[],"targets":[1]}"#),
            "damaged",
        ),
        (
            |h| h["__metadata__"]["objective"] = json!(r#"{"kind":"target","positions":[9],"targets":[1]}"#),
            "damaged",
        ),
        (
            |h| h["__metadata__"]["objective"] = json!(r#"{"kind":"target","positions":[4],"targets":[]}"#),
            "damaged",
        ),
        (
            |h| {
                h["__metadata__"]["objective"] =
                    json!(r#"{"kind":"delta","positions":[18446744073709551615,0],"targets":[]}"#)
            },
            "damaged",
        ),
        (
            |h| h["__metadata__"]["objective"] = json!(r#"{"kind":"next","positions":[4],"targets":[1]}"#),
            "damaged",
        ),
        (|h| h["tokens"]["dtype"] = json!("I32"), "tokens is of type I32"),
        (|h| h["tokens"]["dtype"] = json!("F32"), "tokens is of type F32"),
        (|h| h["tokens"]["shape"] = json!([1, 5]), "tokens has shape [1, 5]"),
        (
            |h| h["logits"]["shape"] = json!([11, 1]),
            "logits has shape [11, 1]; its metadata asks for [1, 11]",
        ),
        (|h| h["logits"]["dtype"] = json!("I32"), "logits is of type I32; must be F32"),
        (
            |h| {
                let loss = h.as_object_mut().unwrap().remove("loss").unwrap();
                h["other"] = loss;
            },
            "has no tensor loss",
        ),
        (
            |h| {
                let tokens = h.as_object_mut().unwrap().remove("tokens").unwrap();
                h["other"] = tokens;
            },
            "has no tensor tokens",
        ),
    ];
    for (change, expected) in cases {
        let (_dir, path, _) = written(&TraceRequest::new(ids(), Objective::Target(TokenId(9))));
        change_header(&path, change);
        let error = TraceFile::open(&path).unwrap_err().to_string();
        assert!(error.contains("trace.safetensors") && error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn tokens_outside_the_vocabulary_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.safetensors");
    let mut made = Made::new(&TraceRequest::new(ids(), Objective::NextToken));
    made.meta.ids[0] = TokenId(11);
    trace_file::write(&path, &made).unwrap();
    let error = TraceFile::open(&path).unwrap_err().to_string();
    assert!(error.contains("id 11 at position 0 is outside the vocabulary"), "{error}");
}

#[test]
fn patches_come_from_traces() {
    let (_dir, path, made) = written(&TraceRequest::new(ids(), Objective::NextToken));
    for (map, site) in [(PatchMap::Reversed, BlockSite::Reversed), (PatchMap::Forward, BlockSite::Pattern)] {
        let patch = load_patch(&path, map, -3.0, &config(), 5).unwrap();
        assert_eq!((patch.alpha, patch.maps.len(), patch.heads.is_none()), (-3.0, 2, true));
        let TensorData::F32(expected) = made.tensor(Site::Block(Layer(1), site)).data else { panic!() };
        assert_eq!(patch.maps[&1], expected);
        let interventions = Interventions { patch: Some(patch), ..Interventions::default() };
        interventions.check(&config(), 5).unwrap();
    }
}

#[test]
fn patches_that_do_not_fit_say_what_differs() {
    let (_dir, path, _) = written(&TraceRequest::new(ids(), Objective::NextToken));
    let fail = |config: &Config, tokens: usize, alpha: f32| {
        load_patch(&path, PatchMap::Reversed, alpha, config, tokens).unwrap_err().to_string()
    };
    let fits = config();
    assert!(fail(&Config { n_head: 2, ..fits.clone() }, 5, 1.0).contains("has 3 heads, but the model has 2"));
    assert!(fail(&Config { n_layer: 1, ..fits.clone() }, 5, 1.0).contains("but the model has 1 layers"));
    assert!(fail(&fits, 4, 1.0).contains("is over 5x5 tokens, but the prompt has 4"));
    assert!(fail(&fits, 0, 1.0).contains("but the prompt has 0"));
    assert!(fail(&fits, 5, f32::NAN).contains("alpha NaN"));

    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("maps.safetensors");
    let save = |shape: Vec<usize>, values: &[f32]| {
        let name = "transformer.h.0.attn.reversed".to_owned();
        retrograd_formats::write_model_weights(
            &other,
            &[(name, shape, values)],
            retrograd_formats::Dtype::F16,
        )
        .unwrap();
        load_patch(&other, PatchMap::Reversed, 1.0, &config(), 1)
    };
    // Any safetensors file will do, in any of the three types.
    assert_eq!(save(vec![3, 1, 1], &[1.0, 2.0, 3.0]).unwrap().maps[&0], [1.0, 2.0, 3.0]);
    assert!(
        save(vec![3], &[1.0, 2.0, 3.0]).unwrap_err().to_string().contains("a map is [heads, tokens, tokens]")
    );
    let error = load_patch(&other, PatchMap::Forward, 1.0, &config(), 1).unwrap_err().to_string();
    assert!(error.contains("has no tensor transformer.h.L.attn.pattern"), "{error}");
    save(vec![3, 2, 2], &[1.0; 12]).unwrap_err();
    let error = load_patch(&other, PatchMap::Reversed, 1.0, &config(), 2).unwrap_err().to_string();
    assert!(error.contains("not zero above the diagonal"), "{error}");
    fs::write(&other, b"nonsense nonsense").unwrap();
    assert!(load_patch(&other, PatchMap::Reversed, 1.0, &config(), 2).is_err());
}
