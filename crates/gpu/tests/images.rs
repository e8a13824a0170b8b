//! Matrices in images: what is written is read back, in both layouts' sizes, and other operations refuse them.

mod harness;

use harness::{Random, with_variant};
use retrograd_gpu::ops::{self, GemmVariant, Matrix, Pack};
use retrograd_gpu::{Dtype, GpuError, Recorder};

/// One element, parts of a quad, of a strip, of two strips; rows on and off every multiple.
const SHAPES: [[usize; 2]; 8] =
    [[1, 1], [3, 5], [7, 64], [64, 60], [65, 68], [2, 257], [130, 768], [1000, 3]];

#[test]
fn what_is_written_is_read_back() {
    let Some(gpu) = with_variant(GemmVariant::Image) else { return };
    for shape in SHAPES {
        let mut random = Random::new((shape[0] * 1000 + shape[1]) as u64);
        let values = random.values(shape[0] * shape[1]);
        let image = gpu.allocate_operand(shape, Dtype::F32).unwrap();
        assert!(image.is_image(), "{shape:?}");
        gpu.write(&image, &values).unwrap();
        assert_eq!(gpu.read(&image).unwrap(), values, "{shape:?}");

        let bits: Vec<u16> = values.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
        let image = gpu.allocate_operand(shape, Dtype::F16).unwrap();
        gpu.write_f16(&image, &bits).unwrap();
        let wanted: Vec<f32> = bits.iter().map(|&b| half::f16::from_bits(b).to_f32()).collect();
        assert_eq!(gpu.read(&image).unwrap(), wanted, "f16 {shape:?}");
    }
}

#[test]
fn rows_of_an_image_are_replaced() {
    let Some(gpu) = with_variant(GemmVariant::Image) else { return };
    let mut random = Random::new(5);
    let (whole, _) = random.tensor(gpu, [9, 70]);
    let (part, part_device) = random.tensor(gpu, [6, 140]);
    let image = gpu.allocate_operand([9, 70], Dtype::F32).unwrap();
    gpu.write(&image, &whole).unwrap();
    let mut recorder = Recorder::new(gpu);
    // Columns 1 to 70 of rows 2 to 4 become rows 5 to 7.
    let source = Matrix::of(&part_device).rows(2, 3).columns(1, 70);
    ops::pack(&mut recorder, Pack { source, image: &image, first_row: 5 }).unwrap();
    gpu.run(&recorder.finish().unwrap()).unwrap();
    let mut wanted = whole;
    for row in 0..3 {
        wanted[(5 + row) * 70..][..70].copy_from_slice(&part[(2 + row) * 140 + 1..][..70]);
    }
    assert_eq!(gpu.read(&image).unwrap(), wanted);
}

#[test]
fn an_image_where_a_buffer_is_needed_is_refused() {
    let Some(gpu) = with_variant(GemmVariant::Image) else { return };
    let image = gpu.allocate_operand([4, 4], Dtype::F32).unwrap();
    let buffer = gpu.upload([4, 4], &[0.0; 16]).unwrap();
    let mut recorder = Recorder::new(gpu);
    assert!(matches!(recorder.copy(&image, 0, &buffer, 0, 4), Err(GpuError::Layout { .. })));
    let source = Matrix::of(&buffer);
    let refused = ops::pack(&mut recorder, Pack { source, image: &buffer, first_row: 0 });
    assert!(matches!(refused, Err(GpuError::Layout { .. })));
    let refused = ops::pack(&mut recorder, Pack { source, image: &image, first_row: 1 });
    assert!(matches!(refused, Err(GpuError::Shape { .. })));
    let sum = ops::ColumnSum { x: &image, first_column: 0, out: &gpu.tensor([4]).unwrap() };
    assert!(matches!(ops::column_sum(&mut recorder, sum), Err(GpuError::Layout { .. })));
    recorder.clear(&image);
    assert!(matches!(recorder.finish(), Err(GpuError::Layout { .. })));
}
