//! An element of a product has the same bits in whatever company it is computed: a row of a batch, a token's logit, a head's
//! map beside those of other sequences (`SumOrder::Alike`, which every recording has unless it is told otherwise).

mod harness;

use harness::{Random, run, with_variant};
use retrograd_gpu::ops::{self, Causal, Gemm, GemmVariant, Matrix};
use retrograd_gpu::{Gpu, Tensor};

/// One map of T rows to a batch entry.
fn maps(tensor: &Tensor, t: usize) -> Matrix<'_> {
    Matrix::of(tensor).rows(0, t).strides(t * tensor.shape().columns(), 0)
}

fn bits(gpu: &Gpu, tensor: &Tensor) -> Vec<u32> {
    gpu.read(tensor).unwrap().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn an_element_does_not_depend_on_other_rows_and_columns() {
    const K: usize = 100;
    for variant in GemmVariant::ALL {
        let Some(gpu) = with_variant(variant) else { continue };
        let mut random = Random::new(29);
        // More outputs than the small tiles are chosen for.
        let (rows, columns) = (1100, 1000);
        let (_, a) = random.tensor(gpu, [rows, K]);
        let (_, b) = random.tensor(gpu, [columns, K]);
        let product = |rows: usize, columns: usize| {
            let c = gpu.tensor([rows, columns]).unwrap();
            run(gpu, |recorder| {
                let (a, b) = (Matrix::of(&a).rows(0, rows), Matrix::of(&b).rows(0, columns));
                ops::gemm(recorder, Gemm::nt(a, b, &c)).unwrap();
            });
            bits(gpu, &c)
        };
        let all = product(rows, columns);
        for (few_rows, few_columns) in [(1, columns), (40, columns), (rows, 4), (5, 1)] {
            let few = product(few_rows, few_columns);
            let wanted = (0..few_rows).flat_map(|row| &all[row * columns..][..few_columns]);
            assert!(few.iter().eq(wanted), "{variant}, {few_rows} × {few_columns}");
        }
    }
}

#[test]
fn an_element_does_not_depend_on_other_maps() {
    // Rows beyond one tile of any size, and more maps than the small tiles are chosen for.
    const T: usize = 132;
    const D: usize = 16;
    const MAPS: usize = 100;
    for variant in GemmVariant::ALL {
        let Some(gpu) = with_variant(variant) else { continue };
        let mut random = Random::new(31);
        let mut lower = random.values(MAPS * T * T);
        lower.iter_mut().enumerate().filter(|(i, _)| i % T > i / T % T).for_each(|(_, value)| *value = 0.0);
        let lower = gpu.upload([MAPS * T, T], &lower).unwrap();
        let (_, x) = random.tensor(gpu, [MAPS * T, D]);
        for causal in [Causal::LowerA, Causal::LowerTransposedA] {
            let product = |count: usize| {
                let c = gpu.tensor([MAPS * T, D]).unwrap();
                let (a, b, out) = (maps(&lower, T), maps(&x, T), maps(&c, T));
                let op = match causal {
                    Causal::LowerA => Gemm::nn(a, b, out),
                    _ => Gemm::tn(a, b, out),
                };
                run(gpu, |recorder| ops::gemm(recorder, op.maps(count, 1).causal(causal)).unwrap());
                bits(gpu, &c)[..T * D].to_vec()
            };
            assert!(product(1) == product(MAPS), "{variant}, {causal:?}");
        }
    }
}
