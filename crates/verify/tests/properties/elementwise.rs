//! What touches each element once.

use crate::bounds::{Bound, exact};
use crate::device::{agree, check, same, twice};
use crate::rounding::Rounding;
use crate::values::{extent, values};
use retrograd_gpu::Dtype;
use retrograd_gpu::ops::{self, AddScaled, Matrix, Pack, PatchAttention, ReplaceHeads, Unpack};

/// A product and a sum.
fn two_roundings() -> Rounding {
    Rounding::steps(2.0)
}

pub(crate) fn add_scaled() {
    check((extent(3000), values()), |(count, values)| {
        let mut source = values.start();
        let (a, b, scale) = (source.values(count), source.values(count), source.value());
        let found = twice(|run| {
            let (a, b, out) = (run.input([count], &a)?, run.input([count], &b)?, run.output([count])?);
            run.run(|recorder| ops::add_scaled(recorder, AddScaled { a: &a, b: &b, scale, out: &out }))?;
            Ok(vec![out])
        })?;
        let wanted: Vec<Bound> =
            a.iter().zip(&b).map(|(a, b)| exact(*a) + exact(scale) * exact(*b)).collect();
        agree("a + scale·b", &found[0], &wanted, two_roundings())
    });
}

pub(crate) fn patch_attention() {
    check((extent(3), extent(3), extent(40), values()), |(batch, heads, t, values)| {
        let mut source = values.start();
        let (maps, map) = (batch * heads * t * t, heads * t * t);
        let (a, m, factors) = (source.values(maps), source.values(map), source.values(batch));
        let found = twice(|run| {
            let pattern = run.input([batch * heads, t, t], &a)?;
            let (map, alpha) = (run.input([heads, t, t], &m)?, run.input([batch], &factors)?);
            let out = run.output([batch * heads, t, t])?;
            run.run(|recorder| {
                let op = PatchAttention { pattern: &pattern, map: &map, alpha: &alpha, out: &out };
                ops::patch_attention(recorder, op)
            })?;
            Ok(vec![out])
        })?;
        let patched = |i: usize| exact(a[i]) + exact(factors[i / map]) * exact(m[i % map]);
        let wanted: Vec<Bound> = (0..maps).map(patched).collect();
        agree("A + α·M", &found[0], &wanted, two_roundings())
    });
}

pub(crate) fn replace_heads() {
    let shapes = (extent(3), extent(40), extent(4), extent(20), 0..45usize, values());
    check(shapes, |(batch, t, heads, width, first_position, values)| {
        let mut source = values.start();
        let d = heads * width;
        let (x, fill) = (source.values(batch * t * d), source.values(batch * d));
        let replaced: Vec<u32> = source.tokens(batch * heads, 2);
        let found = twice(|run| {
            let (x, fill) = (run.input([batch * t, d], &x)?, run.input([batch, d], &fill)?);
            let replaced = run.input_u32([batch, heads], &replaced)?;
            let outs = [run.output([batch * t, d])?, run.output([batch * t, d])?];
            run.run(|recorder| {
                for (fill, out) in [(None, &outs[0]), (Some(&fill), &outs[1])] {
                    let op = ReplaceHeads { x: &x, replaced: &replaced, fill, first_position, out };
                    ops::replace_heads(recorder, op)?;
                }
                Ok(())
            })?;
            Ok(outs.into())
        })?;
        let expected = |filled: bool| -> Vec<f32> {
            let value = |i: usize| {
                let (sequence, position, column) = (i / d / t, i / d % t, i % d);
                let silent = replaced[sequence * heads + column / width] == 1 && position >= first_position;
                match (silent, filled) {
                    (false, _) => x[i],
                    (true, true) => fill[sequence * d + column],
                    (true, false) => 0.0,
                }
            };
            (0..x.len()).map(value).collect()
        };
        same("silenced", &found[0], &expected(false))?;
        same("filled", &found[1], &expected(true))
    });
}

pub(crate) fn pack_and_unpack() {
    check((extent(70), extent(130), 0..9usize, values()), |(rows, columns, first_row, values)| {
        let matrix = values.start().values(rows * columns);
        for dtype in [Dtype::F32, Dtype::F16] {
            let halves: Vec<half::f16> = matrix.iter().map(|&value| half::f16::from_f32(value)).collect();
            let bits: Vec<u16> = halves.iter().map(|value| value.to_bits()).collect();
            let found = twice(|run| {
                let image = run.gpu.allocate_operand([first_row + rows, columns], dtype)?;
                // Only devices whose products read images have any.
                if !image.is_image() {
                    return Ok(Vec::new());
                }
                let source = match dtype {
                    Dtype::F16 => run.gpu.upload_f16([rows, columns], &bits)?,
                    _ => run.input([rows, columns], &matrix)?,
                };
                let out = run.output([rows, columns])?;
                run.run(|recorder| {
                    ops::pack(recorder, Pack { source: Matrix::of(&source), image: &image, first_row })?;
                    ops::unpack(recorder, Unpack { image: &image, first_row, out: &out })
                })?;
                Ok(vec![out])
            })?;
            let wanted: Vec<f32> = match dtype {
                // What is too large for f16 comes back as infinite or as its largest number.
                Dtype::F16 if halves.iter().any(|value| !value.is_finite()) => continue,
                Dtype::F16 => halves.iter().map(|value| value.to_f32()).collect(),
                _ => matrix.clone(),
            };
            if let Some(found) = found.first() {
                same(&format!("{dtype:?} through an image"), found, &wanted)?;
            }
        }
        Ok(())
    });
}
