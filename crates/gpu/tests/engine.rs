//! The engine around the kernels: memory, passes, clocks, readback, errors, limits.

mod harness;

use harness::{Random, gpu, open, pass, run};
use retrograd_gpu::ops::{
    self, Gemm, GemmVariant, Matrix, VocabRange, VocabularySummary, vocabulary_summary,
};
use retrograd_gpu::{
    Dtype, Gpu, GpuError, GpuOptions, HostData, Recorder, Tensor, dump_shaders, enumerate_adapters,
};

/// Records every operation once, on tensors of its own; what it writes is returned by name.
fn every_operation(gpu: &Gpu, recorder: &mut Recorder) -> Vec<(&'static str, Tensor)> {
    let mut random = Random::new(3);
    let (rows, d, v, t, heads) = (26, 12, 37, 13, 3);
    let mut input = |dims: [usize; 2]| random.tensor(gpu, dims).1;
    let (x, delta, square) = (input([rows, d]), input([rows, d]), input([d, d]));
    let (residual, pre) = (input([rows, d]), input([rows, d]));
    let (qkv, wpe) = (input([rows, 3 * d]), input([t, d]));
    let (wte_low, wte_high) = (input([17, d]), input([v - 17, d]));
    let (logits_low, logits_high) = (input([rows, 17]), input([rows, v - 17]));
    let (gamma, beta) = (input([1, d]).reshape([d]), input([1, d]).reshape([d]));
    let halves: Vec<u16> = random.values(d * d).iter().map(|&w| half::f16::from_f32(w).to_bits()).collect();
    let square_f16 = gpu.upload_f16([d, d], &halves).unwrap();
    let tokens = gpu.upload_u32([rows], &(0..rows as u32).collect::<Vec<_>>()).unwrap();
    let offsets = gpu.upload_u32([rows + 1], &(0..=rows as u32).collect::<Vec<_>>()).unwrap();
    let start = gpu.upload_u32([1], &[0]).unwrap();
    let keep = gpu.upload_u32([heads], &[1, 0, 1]).unwrap();
    let hyper = gpu.upload([8], &[1e-3, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.2236, 1.0]).unwrap();
    let output = |dims: [usize; 2]| gpu.upload(dims, &vec![0.0; dims[0] * dims[1]]).unwrap();
    let mut written = Vec::new();
    let mut keep_result = |name, tensor: &Tensor| written.push((name, tensor.clone()));

    for name in ["nn", "nt", "tn"] {
        let c = output(if name == "tn" { [d, d] } else { [rows, d] });
        let op = match name {
            "nn" => Gemm::nn(&x, &square_f16, &c).bias(&beta).gelu(&pre).residual(&residual),
            "nt" => Gemm::nt(&x, &square, &c).gelu_backward(&residual),
            _ => Gemm::tn(&x, &delta, &c).accumulate(true),
        };
        ops::gemm(recorder, op).unwrap();
        keep_result(name, &c);
    }
    let wte =
        [VocabRange { first: 0, rows: wte_low.clone() }, VocabRange { first: 17, rows: wte_high.clone() }];
    let embedded = output([rows, d]);
    let op =
        ops::Embedding { tokens: &tokens, start: &start, context: t, wte: &wte, wpe: &wpe, x: &embedded };
    ops::embedding(recorder, op).unwrap();
    keep_result("embedding", &embedded);
    let (d_wte, d_wpe) = (output([v, d]), output([t, d]));
    let op = ops::EmbeddingBackward {
        unique: &tokens,
        offsets: &offsets,
        order: &tokens,
        delta: &delta,
        first: 0,
        d_wte: &d_wte,
        accumulate: true,
    };
    ops::embedding_backward(recorder, op).unwrap();
    let op = ops::PositionEmbeddingBackward { delta: &delta, batch: 2, context: t, d_wpe: &d_wpe };
    ops::position_embedding_backward(recorder, op).unwrap();
    keep_result("embedding_backward", &d_wte);
    keep_result("position_embedding_backward", &d_wpe);

    let (y, stats, dx, d_gamma_beta) =
        (output([rows, d]), output([rows, 2]), output([rows, d]), output([2, d]));
    let op =
        ops::LayerNorm { x: &x, x_row: 0, gamma: &gamma, beta: &beta, epsilon: 1e-5, y: &y, stats: &stats };
    ops::layer_norm(recorder, op).unwrap();
    let op = ops::LayerNormBackward {
        dy: &delta,
        x: &x,
        x_row: 0,
        gamma: &gamma,
        stats: &stats,
        upstream: Some(&residual),
        dx: &dx,
    };
    ops::layer_norm_backward(recorder, op).unwrap();
    let op = ops::LayerNormGrad { dy: &delta, x: &x, x_row: 0, stats: &stats, d_gamma_beta: &d_gamma_beta };
    ops::layer_norm_grad(recorder, op).unwrap();
    for (name, tensor) in [("y", &y), ("stats", &stats), ("dx", &dx), ("layer_norm_grad", &d_gamma_beta)] {
        keep_result(name, tensor);
    }

    let (batches, dh) = (rows / t, d / heads);
    let maps = |name: &str| {
        let zeros = vec![0.0; batches * heads * t * t];
        (name.len(), gpu.upload([batches * heads, t, t], &zeros).unwrap()).1
    };
    let (pattern, patched, e, reversed) = (maps("A"), maps("A'"), maps("E"), maps("R"));
    let part = |i: usize| Matrix::of(&qkv).rows(0, t).columns(i * d, dh).strides(t * 3 * d, dh);
    let map = |tensor| Matrix::of(tensor).rows(0, t).strides(heads * t * t, t * t);
    let scores = Gemm::nt(part(0), part(1), map(&pattern)).maps(batches, heads).alpha(0.5);
    ops::gemm(recorder, scores.causal(ops::Causal::LowerC)).unwrap();
    ops::causal_softmax(recorder, &pattern).unwrap();
    let alpha = gpu.upload([1], &[0.5]).unwrap();
    let op = ops::PatchAttention { pattern: &pattern, map: &pattern, alpha: &alpha, out: &patched };
    ops::patch_attention(recorder, op).unwrap();
    let d_o = Matrix::of(&delta).rows(0, t).columns(0, dh).strides(t * d, dh);
    ops::gemm(recorder, Gemm::nt(d_o, part(2), map(&e)).maps(batches, heads)).unwrap();
    let op =
        ops::ReversedAttention { pattern: &pattern, e: &e, first_row: 0, scale: 0.5, reversed: &reversed };
    ops::reversed_attention(recorder, op).unwrap();
    let silenced = output([rows, d]);
    let replaced = keep.reshape([1, heads]);
    let op = ops::ReplaceHeads { x: &x, replaced: &replaced, fill: None, first_position: 0, out: &silenced };
    ops::replace_heads(recorder, op).unwrap();
    let products = output([1, heads]).reshape([heads]);
    let op = ops::HeadProducts { a: &x, b: &delta, batch: 1, heads, out: &products, out_index: 0 };
    ops::head_products(recorder, op).unwrap();
    keep_result("head products", &products);
    for (name, tensor) in [("A", &pattern), ("A'", &patched), ("R", &reversed), ("silenced", &silenced)] {
        keep_result(name, tensor);
    }
    let (row, cache, o) = (output([1, 3 * d]), output([8, 3 * d]), output([1, d]));
    recorder.copy(&qkv, 0, &row, 0, 3 * d).unwrap();
    let op = ops::AttentionDecode {
        position: &start,
        qkv: &row,
        cache: &cache,
        scores: &output([heads, 8]),
        keep: Some(&keep),
        o: &o,
    };
    ops::attention_decode(recorder, op).unwrap();
    keep_result("attention_decode", &o);

    let loss = output([1, 1]).reshape([1]);
    let deltas = [output([rows, 17]), output([rows, v - 17])];
    let logits = [logits_low.clone(), logits_high.clone()];
    let op = ops::CrossEntropy {
        logits: &logits,
        targets: &tokens,
        mean_over: rows,
        delta: &deltas,
        row_loss: &output([1, rows]).reshape([rows]),
        loss: &loss,
    };
    ops::cross_entropy(recorder, op).unwrap();
    keep_result("loss", &loss);
    keep_result("δ", &deltas[1]);

    let (bias_grad, norm) = (output([1, d]).reshape([d]), output([1, 2]).reshape([2]));
    ops::column_sum(recorder, ops::ColumnSum { x: &delta, first_column: 0, out: &bias_grad }).unwrap();
    let gradients = [delta.clone(), bias_grad.clone()];
    ops::global_norm(
        recorder,
        ops::GlobalNorm { gradients: &gradients, hyperparameters: &hyper, norm: &norm },
    )
    .unwrap();
    let (w, m, s) = (output([rows, d]), output([rows, d]), output([rows, d]));
    let op = ops::AdamW {
        parameter: &w,
        gradient: &delta,
        first_moment: &m,
        second_moment: &s,
        norm: &norm,
        hyperparameters: &hyper,
        decay: true,
    };
    ops::adamw(recorder, op).unwrap();
    keep_result("column_sum", &bias_grad);
    keep_result("norm", &norm);
    keep_result("w", &w);
    written
}

fn read_all(gpu: &Gpu, tensors: &[(&'static str, Tensor)]) -> Vec<HostData> {
    gpu.read_many(&tensors.iter().map(|(_, tensor)| tensor).collect::<Vec<_>>()).unwrap()
}

fn bits(data: &HostData) -> Vec<u32> {
    match data {
        HostData::F32(values) => values.iter().map(|v| v.to_bits()).collect(),
        HostData::U32(values) => values.clone(),
    }
}

/// The same operations on a device with the WebGPU default limits, and with every GEMM variant.
#[test]
fn every_kernel_runs_within_the_webgpu_limits() {
    let mut results = Vec::new();
    for gemm in [Some(GemmVariant::Portable), Some(GemmVariant::Workgroup), None] {
        let gpu = open(GpuOptions { webgpu_defaults: gemm.is_some(), gemm, ..GpuOptions::default() });
        if gemm.is_some() {
            assert_eq!(gpu.capabilities().max_binding, 128 << 20);
            assert!(gpu.capabilities().subgroup.is_none() && !gpu.capabilities().timestamps);
        }
        let mut recorder = Recorder::new(&gpu);
        let tensors = every_operation(&gpu, &mut recorder);
        let pass = recorder.finish().unwrap();
        gpu.run(&pass).unwrap();
        results.push((tensors.iter().map(|(name, _)| *name).collect::<Vec<_>>(), read_all(&gpu, &tensors)));
    }
    let (names, first) = &results[0];
    for (_, other) in &results[1..] {
        for ((name, a), b) in names.iter().zip(first).zip(other) {
            let (HostData::F32(a), HostData::F32(b)) = (a, b) else { panic!("{name} is f32") };
            assert!(a.iter().any(|v| *v != 0.0), "{name} was written");
            let wanted = harness::wide(a);
            // Two f32 results, each within a few roundings of sums of at most 37 terms.
            let bound = 8.0 * 64f64.sqrt() * harness::ROUNDING;
            harness::assert_close_at(name, b, &wanted, bound, harness::largest(&wanted).max(1.0));
        }
    }
}

/// Results do not depend on the run: one owner per element, no atomics.
#[test]
fn a_pass_recorded_twice_gives_the_same_bits() {
    let gpu = gpu();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut recorder = Recorder::new(gpu);
        let tensors = every_operation(gpu, &mut recorder);
        let pass = recorder.finish().unwrap();
        gpu.run(&pass).unwrap();
        runs.push((tensors.iter().map(|(name, _)| *name).collect::<Vec<_>>(), read_all(gpu, &tensors)));
    }
    for ((name, a), b) in runs[0].0.iter().zip(&runs[0].1).zip(&runs[1].1) {
        assert_eq!(bits(a), bits(b), "{name}");
    }
}

#[test]
fn a_second_pass_allocates_nothing() {
    let gpu = open(GpuOptions::default());
    let once = || {
        let mut recorder = Recorder::new(&gpu);
        let tensors = every_operation(&gpu, &mut recorder);
        let pass = recorder.finish().unwrap();
        gpu.run(&pass).unwrap();
        gpu.run(&pass).unwrap();
        read_all(&gpu, &tensors);
        gpu.arena_stats()
    };
    let first = once();
    assert!(first.buffers_created > 0 && first.bytes_held > 0);
    assert_eq!(once(), first);
    gpu.trim();
    assert_eq!(gpu.arena_stats().bytes_held, 0);
    // What was given back is allocated anew.
    assert_eq!(once().buffers_created, 2 * first.buffers_created);
}

#[test]
fn kernel_times_are_plausible() {
    let gpu = gpu();
    let mut random = Random::new(1);
    let (_, a) = random.tensor(gpu, [128, 256]);
    let (_, b) = random.tensor(gpu, [256, 256]);
    let (c, sum) = (gpu.tensor([128, 256]).unwrap(), gpu.tensor([256]).unwrap());
    let pass = pass(gpu, |recorder| {
        ops::gemm(recorder, Gemm::nn(&a, &b, &c)).unwrap();
        ops::column_sum(recorder, ops::ColumnSum { x: &c, first_column: 0, out: &sum }).unwrap();
    });
    assert_eq!(pass.dispatches(), 2);
    gpu.run(&pass).unwrap();
    gpu.wait().unwrap();
    let clock = std::time::Instant::now();
    let times = gpu.run_timed(&pass).unwrap();
    let wall = clock.elapsed().as_nanos() as f64;
    let Some(times) = times else {
        assert!(!gpu.capabilities().timestamps);
        return;
    };
    assert_eq!(times.len(), 2);
    assert!(times[0].kernel.starts_with("gemm_") && times[1].kernel.starts_with("column_sum"));
    assert_eq!(times[0].start_ns, 0.0);
    assert!(times[1].start_ns >= times[0].start_ns);
    for time in &times {
        assert!(time.duration_ns >= 0.0 && time.duration_ns <= wall, "{time:?} in {wall} ns");
    }
    // 16.8 MFLOP cannot take less than a microsecond on anything.
    assert!(times[0].duration_ns > 1e3, "{:?}", times[0]);
}

#[test]
fn readback_in_rounds() {
    let gpu = gpu();
    // 68 MiB in three tensors: more than one staging buffer, a piece across the boundary.
    let counts = [9 << 20, 8 << 20, 5];
    let mut random = Random::new(9);
    let values: Vec<Vec<f32>> = counts.iter().map(|&count| random.values(count)).collect();
    let tensors: Vec<Tensor> =
        values.iter().map(|values| gpu.upload([values.len()], values).unwrap()).collect();
    let found = gpu.read_many(&tensors.iter().collect::<Vec<_>>()).unwrap();
    for (found, values) in found.iter().zip(&values) {
        assert!(*found == HostData::F32(values.clone()));
    }
    drop(tensors);
    gpu.trim();
}

#[test]
fn element_types_survive_the_round_trip() {
    let gpu = gpu();
    let halves: Vec<u16> = [1.5f32, -0.25, 65504.0].map(|v| half::f16::from_f32(v).to_bits()).to_vec();
    let f16 = gpu.upload_f16([3], &halves).unwrap();
    assert_eq!((f16.dtype(), f16.len(), f16.byte_len()), (Dtype::F16, 3, 8));
    let u32s = gpu.upload_u32([2], &[7, u32::MAX]).unwrap();
    let empty = gpu.upload([0, 4], &[]).unwrap();
    let found = gpu.read_many(&[&f16, &u32s, &empty]).unwrap();
    assert_eq!(found[0], HostData::F32(vec![1.5, -0.25, 65504.0]));
    assert_eq!(found[1], HostData::U32(vec![7, u32::MAX]));
    assert_eq!(found[2], HostData::F32(vec![]));
}

#[test]
fn copies_and_clears() {
    let gpu = gpu();
    let from = gpu.upload([5], &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let to = gpu.upload([4], &[9.0; 4]).unwrap();
    let cleared = gpu.upload([3], &[9.0; 3]).unwrap();
    run(gpu, |recorder| {
        recorder.copy(&from, 2, &to, 1, 3).unwrap();
        recorder.clear(&cleared);
        let error = recorder.copy(&from, 3, &to, 0, 3).unwrap_err();
        assert!(matches!(error, GpuError::Shape { op: "copy", operand: "from", .. }), "{error}");
    });
    assert_eq!(gpu.read(&to).unwrap(), [9.0, 3.0, 4.0, 5.0]);
    assert_eq!(gpu.read(&cleared).unwrap(), [0.0; 3]);
}

/// What `record` fails with.
fn error(gpu: &Gpu, record: impl FnOnce(&mut Recorder) -> Result<(), GpuError>) -> GpuError {
    record(&mut Recorder::new(gpu)).expect_err("an error")
}

#[test]
fn wrong_operands_are_named() {
    let gpu = gpu();
    let tensor = |rows: usize, columns: usize| gpu.tensor([rows, columns]).unwrap();
    let (a, b, c) = (tensor(3, 4), tensor(5, 6), tensor(3, 6));
    let found = error(gpu, |r| ops::gemm(r, Gemm::nn(&a, &b, &c)));
    assert_eq!(found.to_string(), "gemm: b has shape [5, 6], expected an inner extent of 4");
    let b = tensor(4, 6);
    let found = error(gpu, |r| ops::gemm(r, Gemm::nn(&a, &b, &b)));
    assert_eq!(found.to_string(), "gemm: c has shape [4, 6], expected [3, 6]");
    let bias = gpu.tensor([5]).unwrap();
    let found = error(gpu, |r| ops::gemm(r, Gemm::nn(&a, &b, &c).bias(&bias)));
    assert!(matches!(found, GpuError::Shape { operand: "bias", .. }), "{found}");
    let found = error(gpu, |r| ops::gemm(r, Gemm::nn(&a, &b, &c).residual(&a)));
    assert!(matches!(found, GpuError::Shape { operand: "residual", .. }), "{found}");
    let found = error(gpu, |r| ops::gemm(r, Gemm::nn(Matrix::of(&a).columns(2, 4), &b, &c)));
    assert!(matches!(found, GpuError::Shape { operand: "a", .. }), "{found}");
    let found = error(gpu, |r| ops::gemm(r, Gemm::nn(Matrix::of(&a).rows(1, 3), &b, &c)));
    assert!(matches!(found, GpuError::Shape { operand: "a", .. }), "{found}");
    let found =
        error(gpu, |r| ops::gemm(r, Gemm::nn(Matrix::of(&a).rows(0, 0), &b, Matrix::of(&c).rows(0, 0))));
    assert!(matches!(found, GpuError::Unsupported { .. }), "{found}");
    let long = gpu.tensor([1, 300_000]).unwrap();
    let tall = gpu.tensor([300_000, 1]).unwrap();
    let one = gpu.tensor([1, 1]).unwrap();
    let found = error(gpu, |r| ops::gemm(r, Gemm::nn(&long, &tall, &one)));
    assert!(found.to_string().contains("loop iterations"), "{found}");

    let ids = gpu.upload_u32([3, 4], &[0; 12]).unwrap();
    let found = error(gpu, |r| ops::gemm(r, Gemm::nn(&ids, &b, &c)));
    assert!(matches!(found, GpuError::Dtype { op: "gemm", operand: "a", .. }), "{found}");
    let halves = gpu.upload_f16([3, 6], &[0; 18]).unwrap();
    let found = error(gpu, |r| ops::gemm(r, Gemm::tn(&a, &halves, &b)));
    assert!(matches!(found, GpuError::Dtype { op: "gemm", operand: "b", .. }), "{found}");

    let found = error(gpu, |r| ops::causal_softmax(r, &a));
    assert!(matches!(found, GpuError::Shape { op: "causal_softmax", .. }), "{found}");
    let replaced = gpu.upload_u32([1, 5], &[1; 5]).unwrap();
    let op = ops::ReplaceHeads { x: &a, replaced: &replaced, fill: None, first_position: 0, out: &a };
    let found = error(gpu, |r| ops::replace_heads(r, op));
    assert!(matches!(found, GpuError::Shape { operand: "replaced", .. }), "{found}");
    let op = ops::HeadProducts { a: &a, b: &a, batch: 1, heads: 5, out: &c, out_index: 0 };
    let found = error(gpu, |r| ops::head_products(r, op));
    assert!(matches!(found, GpuError::Shape { operand: "a", .. }), "{found}");
    let alpha = gpu.upload([2], &[1.0; 2]).unwrap();
    let op = ops::PatchAttention { pattern: &a, map: &a, alpha: &alpha, out: &a };
    let found = error(gpu, |r| ops::patch_attention(r, op));
    assert!(matches!(found, GpuError::Shape { operand: "map", .. }), "{found}");
    let found = error(gpu, |r| ops::column_sum(r, ops::ColumnSum { x: &a, first_column: 0, out: &bias }));
    assert!(matches!(found, GpuError::Shape { operand: "out", .. }), "{found}");
    let found = error(gpu, |r| ops::add_scaled(r, ops::AddScaled { a: &a, b: &b, scale: 1.0, out: &c }));
    assert!(matches!(found, GpuError::Shape { operand: "b", .. }), "{found}");
    assert!(matches!(gpu.write(&a, &[0.0; 3]), Err(GpuError::Shape { .. })));
    assert!(matches!(gpu.write(&ids, &[0.0; 12]), Err(GpuError::Dtype { .. })));
    assert!(matches!(gpu.write_u32(&a, &[0; 12]), Err(GpuError::Dtype { .. })));
    assert!(matches!(gpu.read(&ids), Err(GpuError::Dtype { .. })));
}

#[test]
fn an_operand_cannot_also_be_the_result() {
    let gpu = open(GpuOptions::default());
    let a = gpu.upload([4, 4], &[0.0; 16]).unwrap();
    let found = error(&gpu, |r| ops::gemm(r, Gemm::nn(&a, &a, &a)));
    assert!(matches!(found, GpuError::Aliased { .. }), "{found}");
    // Read twice is fine, and the device is as good as before.
    let c = gpu.tensor([4, 4]).unwrap();
    run(&gpu, |recorder| ops::gemm(recorder, Gemm::nn(&a, &a, &c)).unwrap());
    assert_eq!(gpu.read(&c).unwrap(), [0.0; 16]);
}

#[test]
fn sizes_beyond_the_device_are_refused() {
    let gpu = open(GpuOptions { webgpu_defaults: true, ..GpuOptions::default() });
    let found = gpu.tensor([50_257, 768]).unwrap_err();
    assert!(
        matches!(found, GpuError::TooLarge { limit_name: "max_storage_buffer_binding_size", .. }),
        "{found}"
    );
    let gpu = open(GpuOptions { memory_limit: Some(1 << 20), ..GpuOptions::default() });
    let small = gpu.tensor([100, 1000]).unwrap();
    let found = gpu.tensor([200, 1000]).unwrap_err();
    assert!(matches!(found, GpuError::OutOfMemory { .. }), "{found}");
    assert!(matches!(gpu.check_memory("a model", 2 << 20), Err(GpuError::OutOfMemory { .. })));
    drop(small);
}

#[test]
fn adapters_that_are_not_there() {
    let found = Gpu::open(&GpuOptions { adapter: Some("no such thing".into()), ..GpuOptions::default() })
        .expect_err("an error");
    let GpuError::UnknownAdapter { found: names, .. } = &found else { panic!("{found}") };
    assert!(names.contains(&gpu().adapter().name), "{found}");
    let found = Gpu::open(&GpuOptions { backend: Some("abacus".into()), ..GpuOptions::default() })
        .expect_err("an error");
    assert!(matches!(found, GpuError::UnknownBackend { .. }), "{found}");
    // Metal and DX12 exist on no Linux machine, Vulkan and GL perhaps.
    if cfg!(target_os = "linux") {
        let found = Gpu::open(&GpuOptions { backend: Some("metal".into()), ..GpuOptions::default() })
            .expect_err("an error");
        assert!(matches!(found, GpuError::NoAdapter { .. }), "{found}");
        assert!(found.to_string().contains("tried: metal"), "{found}");
    }
}

#[test]
fn adapters_are_named_and_chosen_by_part_of_a_name() {
    let all = enumerate_adapters();
    assert!(all.contains(gpu().adapter()));
    let name = &gpu().adapter().name;
    let part = name[..name.len() / 2].to_uppercase();
    let chosen = Gpu::open(&GpuOptions { adapter: Some(part), ..GpuOptions::default() }).unwrap();
    assert_eq!(&chosen.adapter().name, name);
    assert_eq!(chosen.report().found[chosen.report().chosen], *chosen.adapter());
}

#[test]
fn dumped_shaders_are_plain_wgsl() {
    let gpu = open(GpuOptions::default());
    let mut recorder = Recorder::new(&gpu);
    every_operation(&gpu, &mut recorder);
    let shaders = dump_shaders(&gpu).unwrap();
    assert!(shaders.len() > 20, "{} shaders", shaders.len());
    for (name, text) in shaders {
        assert!(name.ends_with(".wgsl") && !name.contains(' '), "{name}");
        assert!(text.contains("@compute") && text.starts_with("//"), "{name} is a kernel with a header");
        assert!(!text.contains("{%") && !text.contains("{{"), "{name} is expanded");
    }
}

#[test]
fn what_does_not_fit_a_summary_of_logits_is_named() {
    let gpu = gpu();
    let logits = gpu.tensor([2, 5]).unwrap();
    let (stats, values) = (gpu.tensor([2, 1, 3]).unwrap(), gpu.tensor([2, 1, 2, 4]).unwrap());
    let ids = gpu.allocate([2, 1, 2, 3].into(), Dtype::U32).unwrap();
    let mut recorder = Recorder::new(gpu);
    let op = VocabularySummary {
        logits: &logits,
        first: 0,
        piece: (0, 1),
        ranked: None,
        stats: &stats,
        values: &values,
        ids: &ids,
    };
    let error = vocabulary_summary(&mut recorder, op).unwrap_err().to_string();
    assert!(error.contains("ids has shape [2, 1, 2, 3], expected [2, 1, 2, 4]"), "{error}");
    let error = vocabulary_summary(&mut recorder, VocabularySummary { piece: (1, 1), ..op });
    assert!(error.is_err());
}
