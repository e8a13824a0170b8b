//! A device that goes away: at rest, under a pass, under a readback. Every call says so, and none hangs.

mod harness;

use harness::{Random, open};
use retrograd_gpu::ops::{self, Gemm};
use retrograd_gpu::{Dtype, Gpu, GpuError, GpuOptions, Pass, Recorder, Tensor};
use std::time::{Duration, Instant};

/// A product C = A B and its pass.
fn product(gpu: &Gpu, size: usize) -> (Tensor, Pass) {
    let mut random = Random::new(5);
    let (a, b) = (random.tensor(gpu, [size, size]).1, random.tensor(gpu, [size, size]).1);
    let c = gpu.tensor([size, size]).unwrap();
    let mut recorder = Recorder::new(gpu);
    ops::gemm(&mut recorder, Gemm::nn(&a, &b, &c)).unwrap();
    (c, recorder.finish().unwrap())
}

fn lost<T>(result: Result<T, GpuError>) -> String {
    match result {
        Ok(_) => panic!("a lost device gave a result"),
        Err(error) => {
            assert!(error.is_device_lost(), "{error}");
            error.to_string()
        }
    }
}

#[test]
fn every_call_on_a_lost_device_says_so_and_another_device_computes_the_same() {
    let gpu = open(GpuOptions::default());
    let (c, pass) = product(&gpu, 40);
    gpu.run(&pass).unwrap();
    let before = gpu.read(&c).unwrap();
    let other = gpu.tensor([40, 40]).unwrap();
    let tokens = gpu.upload_u32([4], &[1, 2, 3, 4]).unwrap();
    let operand = gpu.allocate_operand([40, 40], Dtype::F32).unwrap();
    let mut half_recorded = Recorder::new(&gpu);
    half_recorded.clear(&c);
    assert!(!gpu.is_lost());

    gpu.destroy();
    gpu.destroy();
    assert!(gpu.is_lost());
    let message = lost(gpu.run(&pass));
    for part in [gpu.adapter().name.as_str(), "was lost while running a pass", "destroyed", "open it again"] {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
    lost(gpu.run_timed(&pass));
    lost(gpu.wait());
    assert!(lost(gpu.read(&c)).contains("while reading"));
    lost(gpu.read_many(&[&c, &tokens]));
    lost(gpu.read(&operand));
    assert!(lost(gpu.tensor([7, 7])).contains("[7, 7]"));
    lost(gpu.allocate_operand([17, 12], Dtype::F32));
    assert!(lost(gpu.write(&c, &before)).contains("while writing"));
    lost(gpu.write(&operand, &before));
    lost(gpu.write_u32(&tokens, &[0; 4]));
    lost(gpu.upload([40, 40], &before));
    lost(half_recorded.finish());
    // A kernel that is not compiled yet is not at fault.
    lost(ops::gemm(&mut Recorder::new(&gpu), Gemm::nt(&c, &c, &other)));
    gpu.trim();

    let again = gpu.reopen().unwrap();
    assert_eq!(again.adapter(), gpu.adapter());
    let (c, pass) = product(&again, 40);
    again.run(&pass).unwrap();
    assert_eq!(again.read(&c).unwrap(), before);
}

/// Does `work` over and over while the device is destroyed after `delay`: it must end, soon, with the loss.
fn lost_within(delay: Duration, gpu: &Gpu, mut work: impl FnMut() -> Result<(), GpuError>) {
    let other = gpu.clone();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(delay);
        other.destroy();
    });
    let started = Instant::now();
    let error = loop {
        match work() {
            Ok(()) => assert!(started.elapsed() < Duration::from_secs(60), "the device is never lost"),
            Err(error) => break error,
        }
    };
    killer.join().unwrap();
    assert!(error.is_device_lost(), "{error}");
}

#[test]
fn lost_under_a_pass() {
    for delay in [0, 3, 20] {
        let gpu = open(GpuOptions::default());
        let (c, pass) = product(&gpu, 256);
        gpu.run(&pass).unwrap();
        let right = gpu.read(&c).unwrap();
        lost_within(Duration::from_millis(delay), &gpu, || {
            for _ in 0..4 {
                gpu.run(&pass)?;
            }
            // Whatever is read is right.
            assert!(gpu.read(&c)? == right);
            Ok(())
        });
    }
}

#[test]
fn lost_under_a_readback() {
    let values: Vec<f32> = (0..24 << 20).map(|i| i as f32).collect();
    for delay in [1, 15] {
        let gpu = open(GpuOptions::default());
        let tensor = gpu.upload([24, 1 << 20], &values).unwrap();
        lost_within(Duration::from_millis(delay), &gpu, || {
            assert!(gpu.read(&tensor)? == values);
            Ok(())
        });
    }
}

#[test]
fn lost_under_several_threads_at_once() {
    let gpu = open(GpuOptions::default());
    let products: Vec<(Tensor, Pass)> = (0..3).map(|_| product(&gpu, 96)).collect();
    std::thread::scope(|scope| {
        for (c, pass) in &products {
            let gpu = &gpu;
            scope.spawn(move || {
                let error = loop {
                    match gpu.run(pass).and_then(|()| gpu.read(c)) {
                        Ok(_) => {}
                        Err(error) => break error,
                    }
                };
                assert!(error.is_device_lost(), "{error}");
            });
        }
        std::thread::sleep(Duration::from_millis(100));
        gpu.destroy();
    });
}

/// Allocates until the driver has no more. Run by the next test, in a process of its own with little address space.
#[test]
#[ignore = "takes all of its process's memory"]
fn until_nothing_is_left() {
    // No estimate stands before the driver.
    let gpu = open(GpuOptions { memory_limit: Some(u64::MAX), ..GpuOptions::default() });
    let (c, pass) = product(&gpu, 40);
    gpu.run(&pass).unwrap();
    let right = gpu.read(&c).unwrap();
    let mut held = Vec::new();
    let error = loop {
        match gpu.tensor([16, 1 << 20]) {
            Ok(tensor) => held.push(tensor),
            Err(error) => break error,
        }
        assert!(held.len() < 1000, "64 GB were given");
    };
    println!("{} times 64 MiB, then: {error}", held.len());
    assert!(matches!(error, GpuError::AllocationFailed { needed_mib: 64, .. }), "{error}");
    // It is an error of that call alone.
    held.clear();
    gpu.trim();
    gpu.run(&pass).unwrap();
    assert_eq!(gpu.read(&c).unwrap(), right);
    gpu.tensor([16, 1 << 20]).unwrap();
}

#[cfg(unix)]
#[test]
fn a_driver_without_room_is_an_error_and_the_device_goes_on() {
    if !open(GpuOptions::default()).adapter().is_software() {
        eprintln!("skipped: a GPU's memory is not a process's address space");
        return;
    }
    let test = std::env::current_exe().unwrap();
    let script = "ulimit -v 6000000 && exec \"$0\" --ignored --exact until_nothing_is_left --nocapture";
    let output = std::process::Command::new("sh").args(["-c", script]).arg(test).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
}
