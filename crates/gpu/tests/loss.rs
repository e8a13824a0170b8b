//! Softmax cross-entropy with the vocabulary in ranges, and the sums that make one number of a loss.

mod harness;

use harness::{ROUNDING, Random, assert_close_at, gpu, run, wide};
use retrograd_gpu::Tensor;
use retrograd_gpu::ops::{CrossEntropy, WeightedSum, cross_entropy, weighted_sum};
use retrograd_reference::ops as reference;

/// Sums of `terms` exponentials; four standard deviations. The constant counts the roundings around
/// them and those of an exponential (WGSL: 3 + 2|x| ulp, and eˣ·|x| ≤ 1/e).
fn bound(terms: usize) -> f64 {
    (4.0 * ((terms + 16) as f64).sqrt() + 2.0 * (3.0 + 2.0 / std::f64::consts::E)) * ROUNDING
}

/// Columns `first .. first + count` of `[rows, v]`.
fn range(x: &[f32], v: usize, first: usize, count: usize) -> Vec<f32> {
    x.chunks_exact(v).flat_map(|row| row[first..first + count].to_vec()).collect()
}

#[test]
fn loss_and_delta_over_vocabulary_ranges() {
    let gpu = gpu();
    // (rows, vocabulary, where ranges end). The last two have large logits.
    let cases: [(usize, &[usize], f32); 9] = [
        (1, &[1], 3.0),
        (1, &[7], 3.0),
        (3, &[4, 9], 3.0),
        (5, &[1, 2, 33], 3.0),
        (37, &[64, 97], 3.0),
        (2, &[1000, 2000, 2003], 3.0),
        (1, &[50_257], 3.0),
        (4, &[65, 129], 1e4),
        (33_000, &[3], 50.0),
    ];
    for (rows, ends, magnitude) in cases {
        let v = *ends.last().unwrap();
        let what = |name: &str| format!("{name}, {rows} rows, vocabulary {ends:?}, logits to {magnitude}");
        let mut random = Random::new((rows * 1000 + v) as u64);
        let logits: Vec<f32> = random.values(rows * v).iter().map(|x| x * magnitude).collect();
        // First, last and any token, and in the second row the most probable one: a loss near 0.
        let targets: Vec<u32> = (0..rows)
            .map(|row| match row % 4 {
                0 => v - 1,
                1 => {
                    let row = &logits[row * v..][..v];
                    (0..v).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
                }
                2 => 0,
                _ => random.below(v),
            } as u32)
            .collect();
        let (mut parts, mut deltas, mut first): (Vec<Tensor>, Vec<Tensor>, usize) = (vec![], vec![], 0);
        for &end in ends {
            let count = end - first;
            parts.push(gpu.upload([rows, count], &range(&logits, v, first, count)).unwrap());
            deltas.push(gpu.tensor([rows, count]).unwrap());
            first = end;
        }
        let targets_device = gpu.upload_u32([rows], &targets).unwrap();
        let loss = gpu.tensor([1]).unwrap();
        run(gpu, |recorder| {
            let op = CrossEntropy { logits: &parts, targets: &targets_device, delta: &deltas, loss: &loss };
            cross_entropy(recorder, op).unwrap();
        });
        let wanted = reference::cross_entropy(&wide(&logits), &targets, rows, v);
        // Relative to the logits that are subtracted, which are exact, or to log's own size.
        let scale = wanted.loss.max(1.0);
        assert_close_at(&what("loss"), &gpu.read(&loss).unwrap(), &[wanted.loss], bound(v + rows), scale);
        let mut first = 0;
        for (delta, &end) in deltas.iter().zip(ends) {
            let wanted: Vec<f64> =
                wanted.delta.chunks_exact(v).flat_map(|row| row[first..end].to_vec()).collect();
            // p and p − 1 have roundings of the size of 1, divided by the number of rows.
            let found = gpu.read(delta).unwrap();
            assert_close_at(&what("δ"), &found, &wanted, bound(v), 1.0 / rows as f64);
            first = end;
        }
    }
}

#[test]
fn sums_of_any_length() {
    let gpu = gpu();
    for count in [1, 7, 63, 64, 65, 1000, 65_536, 65_537, 300_001] {
        let mut random = Random::new(count as u64);
        let (a, a_device) = random.tensor(gpu, [count]);
        let (b, b_device) = random.tensor(gpu, [count]);
        let out = gpu.upload([3], &[7.0, 7.0, 7.0]).unwrap();
        run(gpu, |recorder| {
            let op = WeightedSum { a: &a_device, b: Some(&b_device), scale: -0.5, out: &out, out_index: 0 };
            weighted_sum(recorder, op).unwrap();
            let op = WeightedSum { b: None, out_index: 2, ..op };
            weighted_sum(recorder, op).unwrap();
        });
        let found = gpu.read(&out).unwrap();
        let dot: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let sum: f64 = wide(&a).iter().sum();
        // Random signs: the partial sums, and so the roundings, have the size of √count.
        let scale = (count as f64).sqrt();
        let what = format!("sum of {count}");
        assert_close_at(&what, &found, &[-0.5 * dot, 7.0, -0.5 * sum], bound(count), scale);
        assert_eq!(found[1], 7.0, "{what} wrote beside its element");
    }
}
