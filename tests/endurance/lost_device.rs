//! A device that is lost in the middle of a whole training and of a whole sweep: what was finished stands, and the next
//! run goes on from there to the same result.

use crate::files::{litter, visible};
use crate::harness::{Scratch, fixture};
use retrograd::train::{Dataset, TrainOptions, Trainer};
use retrograd::training::{self, Ending, TrainingPlan};
use retrograd::{Gpt2, Gpu, GpuOptions, Precision};
use retrograd_sweep::{Columns, Sweep, SweepOptions};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

fn open() -> Gpu {
    Gpu::open(&GpuOptions::default()).unwrap()
}

#[test]
fn a_training_keeps_its_checkpoint_and_goes_on_from_it() {
    let scratch = Scratch::new();
    let trainer = |gpu: &Gpu| {
        let options = TrainOptions { steps: 9, batch: 2, context: 4, warmup: 1, ..TrainOptions::default() };
        let text = Dataset::from_ids((0..200).map(|at| at * 7 % 250).collect());
        Trainer::from_weights(gpu, fixture("untied"), text, options).unwrap()
    };
    let plan = |out: &str| TrainingPlan {
        out: scratch.path(out).into(),
        held_out: None,
        eval_every: 0,
        checkpoint_every: 4,
        tokenizer: None,
    };
    let on = |_: &training::Progress| ControlFlow::Continue(());
    let whole = plan("whole");
    assert_eq!(training::run(&mut trainer(&open()), &whole, on).unwrap(), Ending::Complete);

    let (gpu, parts) = (open(), plan("parts"));
    let lost = training::run(&mut trainer(&gpu), &parts, |progress| {
        if progress.step.step == 5 {
            gpu.destroy();
        }
        ControlFlow::Continue(())
    });
    let error = lost.unwrap_err();
    assert!(error.is_device_lost(), "{error}");
    assert!(visible(&parts.out).contains_key("training-state.safetensors"));
    assert_eq!(litter(&parts.out), Vec::<String>::new());

    let mut again = trainer(&gpu.reopen().unwrap());
    training::resume(&mut again, &parts.out).unwrap();
    assert_eq!(again.steps_done(), 4);
    assert_eq!(training::run(&mut again, &parts, on).unwrap(), Ending::Complete);
    assert!(visible(&parts.out) == visible(&whole.out));

    // One that is lost before it has written anything leaves no directory.
    let (gpu, never) = (open(), plan("never"));
    let mut trainer = trainer(&gpu);
    gpu.destroy();
    assert!(training::run(&mut trainer, &never, on).unwrap_err().is_device_lost());
    assert!(!never.out.exists());
}

#[test]
fn a_sweep_keeps_its_parts_and_goes_on_behind_them() {
    let scratch = Scratch::new();
    let atlas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/atlas");
    let rows: String = (0..24)
        .map(|row| {
            format!(
                "{{\"id\": {row}, \"prompt\": \"The capital of number {row} is\", \"target\": \" Paris\"}}\n"
            )
        })
        .collect();
    let table: PathBuf = scratch.file("table.jsonl", rows.as_bytes()).into();
    let sweep = |out: &str, resume| {
        let options =
            SweepOptions { columns: Columns::default(), part_rows: 6, resume, ..Default::default() };
        Sweep::open(&table, scratch.path(out).as_ref(), &atlas, Precision::F32, options).unwrap()
    };
    let load = |gpu: &Gpu| Gpt2::load(gpu, &atlas, Precision::F32).unwrap();
    let stop = AtomicBool::new(false);
    sweep("whole", false).run(load(&open()), &stop, &mut |_| {}).unwrap();

    let gpu = open();
    let error = sweep("parts", false)
        .run(load(&gpu), &stop, &mut |progress| {
            if progress.rows > 6 {
                gpu.destroy();
            }
        })
        .unwrap_err()
        .to_string();
    assert!(error.contains("was lost while"), "{error}");
    let parts = |out: &str| {
        let mut files = visible(scratch.path(out).as_ref());
        files.retain(|name, _| name.ends_with(".parquet"));
        files
    };
    let (before, whole) = (parts("parts"), parts("whole"));
    assert!(!before.is_empty() && before.len() < whole.len(), "{:?}", before.keys());
    assert!(before.iter().all(|(name, content)| whole[name] == *content));
    assert_eq!(litter(scratch.path("parts").as_ref()), Vec::<String>::new());

    sweep("parts", true).run(load(&gpu.reopen().unwrap()), &stop, &mut |_| {}).unwrap();
    assert!(parts("parts") == whole);
}
