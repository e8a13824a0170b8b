//! Vectors read in the vocabulary on the device, against the f64 oracle.

mod support;

use retrograd_formats::{HostTensor, Project, ProjectionRequest, TokenId};
use retrograd_gpu::{Gpu, GpuOptions};
use retrograd_model::{Gpt2, Precision};
use retrograd_reference::ReferenceModel;
use support::fixture;

/// Vectors of very different sizes, the last one zero.
fn vectors(rows: usize, width: usize) -> HostTensor {
    let mut state = 12345u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut values: Vec<f32> = Vec::new();
    for row in 0..rows {
        let size = 10f32.powi(2 - (row % 7) as i32);
        values.extend((0..width).map(|_| size * draw()));
    }
    values[(rows - 1) * width..].fill(0.0);
    HostTensor::f32([rows, width], values)
}

fn agree(gpu: &Gpu, name: &str, rows: usize, normalize: bool) {
    let dir = fixture(name);
    let (model, oracle) =
        (Gpt2::load(gpu, &dir, Precision::F32).unwrap(), ReferenceModel::load(&dir).unwrap());
    let config = model.config().clone();
    let last = TokenId(config.vocab_size as u32 - 1);
    let request = ProjectionRequest::new(vectors(rows, config.n_embd))
        .top(7)
        .normalize(normalize)
        .ranks_of(vec![TokenId(3), last]);
    let (found, wanted) = (model.project(&request).unwrap(), oracle.project(&request).unwrap());
    assert_eq!(found.len(), rows);
    for (row, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
        let what = format!("{name}, row {row} of {rows}, normalize {normalize}");
        for (found, wanted) in [(&found.top, &wanted.top), (&found.bottom, &wanted.bottom)] {
            for (found, wanted) in found.iter().zip(wanted) {
                assert_eq!(found.0, wanted.0, "{what}");
                assert!((found.1 / wanted.1 - 1.0).abs() < 1e-4, "{what}: {found:?} {wanted:?}");
            }
        }
        for (found, wanted) in found.tokens.iter().zip(&wanted.tokens) {
            assert_eq!(found.rank, wanted.rank, "{what}");
            assert!((found.probability / wanted.probability - 1.0).abs() < 1e-4, "{what}");
        }
        assert!((found.entropy - wanted.entropy).abs() < 1e-4, "{what}");
    }
}

#[test]
fn the_device_and_the_oracle_agree() {
    let gpu = &support::gpu();
    for name in ["three_layers", "untied", "one_head", "bf16"] {
        for normalize in [false, true] {
            agree(gpu, name, 13, normalize);
        }
    }
    // More than one chunk of rows, the last one short.
    agree(gpu, "three_layers", 520, false);
}

#[test]
fn within_webgpu_limits_too() {
    let gpu =
        Gpu::open(&GpuOptions { webgpu_defaults: true, checked: true, ..GpuOptions::default() }).unwrap();
    agree(&gpu, "three_layers", 13, false);
}

#[test]
fn a_zero_vector_reads_as_the_final_norms_bias() {
    let dir = fixture("untied");
    let (model, oracle) =
        (Gpt2::load(&support::gpu(), &dir, Precision::F32).unwrap(), ReferenceModel::load(&dir).unwrap());
    let width = model.config().n_embd;
    let request =
        ProjectionRequest::new(HostTensor::f32([1, width], vec![0.0; width])).top(3).normalize(true);
    let found = model.project(&request).unwrap().remove(0);
    let parameters = oracle.parameters();
    let (bias, head) = (&parameters["transformer.ln_f.bias"], &parameters["lm_head.weight"]);
    let logits: Vec<f64> =
        head.chunks_exact(width).map(|row| row.iter().zip(bias).map(|(a, b)| a * b).sum()).collect();
    let summary = retrograd_reference::ops::vocabulary_summary(&logits, 3, &[]);
    let top: Vec<usize> = found.top.iter().map(|(id, _)| id.0 as usize).collect();
    assert_eq!(top, summary.top);
    assert!((found.entropy - summary.entropy).abs() < 1e-5);
}

#[test]
fn many_places_are_all_of_the_vocabulary() {
    let model = Gpt2::load(&support::gpu(), fixture("one_token"), Precision::F32).unwrap();
    let (vocabulary, width) = (model.config().vocab_size, model.config().n_embd);
    let request = ProjectionRequest::new(vectors(2, width)).top(vocabulary);
    for reading in model.project(&request).unwrap() {
        let total: f64 = reading.top.iter().map(|(_, p)| p).sum();
        assert!((total - 1.0).abs() < 1e-5);
        assert!(reading.top.is_sorted_by(|a, b| a.1 >= b.1));
        assert!(reading.bottom.is_sorted_by(|a, b| a.1 <= b.1));
        assert_eq!((reading.top.len(), reading.bottom.len()), (vocabulary, vocabulary));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let model = Gpt2::load(&support::gpu(), fixture("one_token"), Precision::F32).unwrap();
    let width = model.config().n_embd;
    let wrong = |request: ProjectionRequest, part: &str| {
        let error = model.project(&request).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    wrong(ProjectionRequest::new(vectors(2, width + 1)), "width");
    wrong(ProjectionRequest::new(vectors(2, width)).top(0), "1 to 97");
    wrong(ProjectionRequest::new(vectors(2, width)).top(98), "1 to 97");
    wrong(ProjectionRequest::new(vectors(2, width)).ranks_of(vec![TokenId(97)]), "vocabulary of 97");
    let nan = HostTensor::f32([1, width], vec![f32::NAN; width]);
    wrong(ProjectionRequest::new(nan), "not finite");
    let none = ProjectionRequest::new(HostTensor::f32([0, width], Vec::new()));
    assert!(model.project(&none).unwrap().is_empty());
}
