//! A disk without room. Files are limited for one process, as `ulimit -f` does, which an ordinary user may do; where
//! user namespaces are to be had, a real file system of 64 KiB is filled too.

use crate::files::{litter, visible};
use crate::harness::{Run, Scratch, retrograd};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the command with no file larger than so many blocks of 512 bytes. Writing on fails then, as on a full disk.
fn limited(blocks: u32, args: &[&str]) -> Run {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_retrograd")]).args(args).stdin(Stdio::null());
    Run::of(command.output().unwrap())
}

const TRACE: [&str; 4] = ["trace", "The capital of France is", "--target", " Paris"];

#[test]
fn an_output_that_does_not_fit_leaves_what_was_there() {
    let scratch = Scratch::new();
    let out = scratch.file("trace.safetensors", b"the file before");
    let run = limited(64, &[&TRACE[..], &["--out", &out]].concat());
    run.fails(&[&out, "File too large"]);
    assert_eq!(std::fs::read(&out).unwrap(), b"the file before");
    assert_eq!(scratch.names().len(), 1, "{:?}", scratch.names());
    retrograd(&[&TRACE[..], &["--out", &out]].concat()).succeeds();

    // 4.5 MB of weights; the directory appears whole or not at all.
    let edited = scratch.path("edited");
    let edit =
        ["edit", "The capital of France is", "--target", " Rome", "--layer", "1", "--eta", "0.2", "--out"];
    limited(4096, &[&edit[..], &[&edited]].concat()).fails(&[
        "edited",
        "model.safetensors",
        "File too large",
    ]);
    assert_eq!(scratch.names().len(), 1, "{:?}", scratch.names());
}

#[test]
fn a_training_without_room_keeps_its_last_checkpoint_and_goes_on_from_it() {
    let scratch = Scratch::new();
    let text: String = (0..400).map(|i| format!("The number {i} comes before {}.\n", i + 1)).collect();
    let text = scratch.file("text.txt", text.as_bytes());
    let atlas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/atlas");
    let train = |out: &str, more: &[&str]| {
        let usual =
            ["train", "--init", atlas.to_str().unwrap(), "--text", &text, "--batch", "1", "--context", "4"];
        let rest = ["--steps", "4", "--checkpoint-every", "2", "--out"];
        [&usual[..], &rest, &[out], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let words = |args: &[String]| args.iter().map(String::as_str).collect::<Vec<_>>().join("\u{0}");
    let split = |joined: &str| joined.split('\u{0}').map(str::to_owned).collect::<Vec<_>>();
    let (whole, parts) = (scratch.path("whole"), scratch.path("parts"));
    let run = |args: Vec<String>, blocks: Option<u32>| {
        let joined = words(&args);
        let args = split(&joined);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        blocks.map_or_else(|| retrograd(&args), |blocks| limited(blocks, &args))
    };
    run(train(&whole, &["--json"]), None).succeeds();
    // Room for the weights, 4.5 MB, and not for the checkpoint, three times that.
    let failed = run(train(&parts, &[]), Some(16_000));
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("training-state.safetensors: File too large"), "{}", failed.stderr);
    assert!(litter(Path::new(&parts)).is_empty());
    assert!(!Path::new(&parts).join("training-state.safetensors").exists());
    run(train(&parts, &["--json"]), None).succeeds();
    let weights = |out: &str| visible(Path::new(out)).remove("model.safetensors").unwrap();
    assert!(weights(&parts) == weights(&whole));
}

#[test]
fn a_full_standard_output_is_said() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: there is no /dev/full");
        return;
    };
    let mut command = crate::harness::command(&[&TRACE[..], &["--json"]].concat());
    let run = Run::of(command.stdout(full).output().unwrap());
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("No space left on device") && run.stderr.lines().count() == 1,
        "{}",
        run.stderr
    );
}

#[test]
fn a_file_system_without_room() {
    let scratch = Scratch::new();
    let place = scratch.path("small");
    std::fs::create_dir(&place).unwrap();
    let script = r#"mount -t tmpfs -o size=64k tmpfs "$1" || exit 77
        cd "$1" && echo before > trace.safetensors
        "$0" trace "The capital of France is" --target " Paris" --out trace.safetensors
        echo "exit $?"; cat trace.safetensors; ls -A"#;
    let output = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, env!("CARGO_BIN_EXE_retrograd"), &place])
        .env("RETROGRAD_MODEL", "")
        .stdin(Stdio::null())
        .output();
    let skipped = |reason: &str| eprintln!("skipped: no file system of our own here: {reason}");
    let Ok(output) = output else { return skipped("there is no 'unshare'") };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !stdout.contains("exit ") {
        return skipped(stderr.trim());
    }
    assert_eq!(stdout, "exit 1\nbefore\ntrace.safetensors\n", "{stderr}");
    assert!(stderr.contains("trace.safetensors: No space left on device"), "{stderr}");
}
