//! `retrograd lens`: documents, pages, files, bad input.

use crate::harness::{Run, Scratch, fixture, retrograd};

fn lens(flags: &[&str]) -> Run {
    let model = fixture("untied");
    retrograd(&[&["lens", "--model", &model, "--ids", "81,73,33,71,27"], flags].concat())
}

#[test]
fn a_document_with_both_tables() {
    let report = lens(&["--target-id", "7", "--json"]).json();
    assert_eq!(report["schema"], "retrograd-lens/1");
    assert_eq!(report["tokens"][0]["id"], 81);
    assert_eq!(report["target"]["id"], 7);
    let target = report["target"]["probability"].as_f64().unwrap();
    assert!((-target.ln() - report["loss"].as_f64().unwrap()).abs() < 1e-5);
    let entries = report["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2 * 2 * 5);
    assert_eq!(entries[0]["site"], "mlp.c_fc.input");
    let last = entries.last().unwrap();
    assert_eq!((last["site"].as_str(), last["layer"].as_u64()), (Some("mlp.c_proj.delta"), Some(1)));
    assert_eq!(last["position"], 4);
    for list in ["top", "bottom"] {
        assert_eq!(last[list].as_array().unwrap().len(), 5);
    }
    // Nothing reaches the last layer's MLP elsewhere.
    assert_eq!(entries[entries.len() - 2]["norm"], 0.0);
    assert!(last["norm"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_device_and_the_oracle_agree() {
    for more in [&["--normalize"][..], &["--sites", "resid_*,attn.c_*", "--layers", "1"]] {
        let flags = [&["--next-token", "--json", "--top", "3"], more].concat();
        let device = lens(&flags).json();
        let oracle = lens(&[&["--adapter", "reference"], &flags[..]].concat()).json();
        let (device, oracle) = (device["entries"].as_array().unwrap(), oracle["entries"].as_array().unwrap());
        assert_eq!(device.len(), oracle.len());
        for (a, b) in device.iter().zip(oracle) {
            for key in ["site", "layer", "position", "target_rank", "answer_rank"] {
                assert_eq!(a[key], b[key], "{key} of {b}");
            }
            for number in [
                "/norm",
                "/target_probability",
                "/entropy_bits",
                "/top/0/probability",
                "/bottom/2/probability",
            ] {
                let value = |entry: &serde_json::Value| entry.pointer(number).unwrap().as_f64().unwrap();
                assert!((value(a) - value(b)).abs() <= 1e-4 * value(b), "{number}: {a} and {b}");
            }
            for token in ["/top/0/id", "/top/2/id", "/bottom/0/id"] {
                assert_eq!(a.pointer(token), b.pointer(token));
            }
        }
    }
}

#[test]
fn pages_are_as_wide_as_they_may_be() {
    let twelve = "1,2,3,4,5,6,7,8,9,10,11,12";
    let model = fixture("untied");
    for ids in ["3", "3,1,4", twelve] {
        let page = retrograd(&[
            "lens",
            "--model",
            &model,
            "--ids",
            ids,
            "--target-id",
            "7",
            "--adapter",
            "reference",
            "--sites",
            "mlp.*,resid_post",
        ])
        .succeeds();
        assert!(page.contains("mlp.c_fc.input") && page.contains("Rank of the target"), "{page}");
        assert!(!page.contains('\u{1b}'), "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= 110), "{page}");
    }
}

#[test]
fn comma_separated_values() {
    let scratch = Scratch::new();
    let path = scratch.path("lens.csv");
    let page = lens(&["--target-id", "7", "--csv", &path, "--top", "2"]).succeeds();
    assert!(page.contains(&path));
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 2 * 2 * 5);
    assert!(lines[0].ends_with("bottom2,bottom2_id,bottom2_probability"));
    assert!(lines[1].starts_with("mlp.c_fc.input,0,0,,81,"));
    let columns = |line: &str| line.split(',').count();
    assert!(lines.iter().all(|line| columns(line) == columns(lines[0])));
    assert_eq!(scratch.names().len(), 1);
}

#[test]
fn figures() {
    let scratch = Scratch::new();
    let (svg, png) = (scratch.path("lens.svg"), scratch.path("lens.png"));
    let page = lens(&["--target-id", "7", "--svg", &svg, "--png", &png]).succeeds();
    assert!(page.contains(&svg) && page.contains(&png));
    let text = std::fs::read_to_string(&svg).unwrap();
    assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n") && !text.contains("<text"));
    // Two tables and two maps of two layers and five positions.
    assert_eq!(text.matches("<title>").count(), 4 * 2 * 5);
    assert_eq!(std::fs::read(&png).unwrap()[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(scratch.names().len(), 2);
    let whole = text.len();
    lens(&["--target-id", "7", "--svg", &svg, "--panels", "ranks"]).succeeds();
    let text = std::fs::read_to_string(&svg).unwrap();
    assert!(text.len() < whole && !text.contains("<title>"));
    lens(&["--target-id", "7", "--svg", &svg, "--panels", "pie"]).fails_as_usage(&["pie", "--panels"]);
}

#[test]
fn a_report_on_every_weight_gradient() {
    let flags = ["--target-id", "7", "--report"];
    let report = lens(&[&flags[..], &["--json"]].concat()).json();
    let matrices = report["gradients"]["matrices"].as_array().unwrap();
    assert_eq!(matrices.len(), 2 * 4);
    for gradient in matrices {
        let last_mlp = gradient["layer"] == 1 && gradient["matrix"] != "attn.c_attn";
        assert_eq!(gradient["rank"], if last_mlp { 1 } else { 5 }, "{gradient}");
        assert_eq!(gradient["contributions"].as_array().unwrap().len(), 5);
        assert_eq!(gradient["tokens"].as_array().unwrap().len(), 3);
    }
    assert_eq!(report["gradients"]["similarities"].as_array().unwrap().len(), 4);
    let page = lens(&[&flags[..], &["--adapter", "reference"]].concat()).succeeds();
    assert!(page.contains("Weight gradients") && page.contains("Likeness of δ"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 110), "{page}");
    assert!(lens(&["--target-id", "7", "--json"]).json().get("gradients").is_none());
}

#[test]
fn the_shipped_models_tokens_have_text() {
    let report = retrograd(&[
        "lens",
        "The capital of France is",
        "--target",
        " Paris",
        "--json",
        "--sites",
        "resid_post",
    ])
    .json();
    assert_eq!(report["answer"]["text"], " Paris");
    let last = report["entries"].as_array().unwrap().last().unwrap();
    assert_eq!((last["top"][0]["text"].as_str(), last["target_rank"].as_u64()), (Some(" Paris"), Some(0)));
}

#[test]
fn bad_input() {
    let with = |flags: &[&str], parts: &[&str]| {
        let scratch = Scratch::new();
        let csv = scratch.path("lens.csv");
        lens(&[&["--target-id", "7", "--csv", &csv], flags].concat()).fails(parts);
        assert!(scratch.names().is_empty());
    };
    with(&["--sites", "mlp.c_fc.delta"], &["--sites", "'mlp.c_fc.delta'", "not as wide", "mlp.c_proj.delta"]);
    with(&["--sites", "mpl.c_fc.input"], &["--sites", "'mpl.c_fc.input'", "matches no tensor"]);
    with(&["--sites", "attn.pattern"], &["--sites", "not as wide"]);
    with(&["--sites", ""], &["--sites"]);
    with(&["--layers", "2"], &["--layers", "2 is not a layer", "0 to 1"]);
    with(&["--layers", "0-"], &["--layers", "'0-'"]);
    with(&["--top", "0"], &["--top", "1 to 257"]);
    with(&["--top", "258"], &["--top", "258", "1 to 257"]);
    with(&["--target-id", "257"], &["--target-id", "'257'", "0 to 256"]);
    lens(&[]).fails_with(2, &["--target", "--target-id"]);
    lens(&["--target-id", "7", "--top", "-1"]).fails_as_usage(&["-1"]);
    let model = fixture("untied");
    retrograd(&["lens", "--model", &model, "--ids", "3,999", "--target-id", "1"])
        .fails(&["999", "position 1"]);
    for file in ["--csv", "--svg", "--png"] {
        lens(&["--target-id", "7", file, "/absent/lens"]).fails(&["/absent/lens", "no directory"]);
    }
}

#[test]
fn a_target_of_several_tokens_is_named_with_its_parts() {
    retrograd(&["lens", "The capital of France is", "--target", " Parisian"])
        .fails(&["' Parisian'", "token"]);
}
