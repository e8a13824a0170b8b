//! Sums over rows, heads, maps and whole tensors.

use crate::bounds::{Bound, exact};
use crate::device::{agree, check, same, twice};
use crate::rounding::Rounding;
use crate::values::{extent, values};
use retrograd_gpu::ops::{self, ColumnSum, HeadProducts, MapNorms, WeightedSum};

pub(crate) fn weighted_sum() {
    // Sums of one stretch and, rarely, of two.
    check((extent(5000), 0..40usize, values()), |(count, two, values)| {
        let count = if two == 0 { 65_536 + count } else { count };
        let mut source = values.start();
        let (a, b, scale) = (source.values(count), source.values(count), source.value());
        let found = twice(|run| {
            let (a, b) = (run.input([count], &a)?, run.input([count], &b)?);
            let out = run.gpu.upload([3], &[7.0; 3])?;
            run.run(|recorder| {
                let op = WeightedSum { a: &a, b: Some(&b), scale, out: &out, out_index: 0 };
                ops::weighted_sum(recorder, op)?;
                ops::weighted_sum(recorder, WeightedSum { b: None, out_index: 2, ..op })
            })?;
            Ok(vec![out])
        })?;
        let dot: Bound = a.iter().zip(&b).map(|(a, b)| exact(*a) * exact(*b)).sum();
        let sum: Bound = a.iter().map(|a| exact(*a)).sum();
        let wanted = [exact(scale) * dot, exact(7.0), exact(scale) * sum];
        same("the element beside", &found[0][1..2], &[7.0])?;
        agree("scale·Σ", &found[0], &wanted, Rounding::sum(count))
    });
}

pub(crate) fn column_sum() {
    let shapes = (extent(600), extent(70), extent(20), extent(20), values());
    check(shapes, |(rows, columns, before, after, values)| {
        // Columns from 0 on too.
        let (before, after) = (before - 1, after - 1);
        let width = before + columns + after;
        let x = values.start().values(rows * width);
        let found = twice(|run| {
            let (x, out) = (run.input([rows, width], &x)?, run.output([columns])?);
            run.run(|recorder| {
                ops::column_sum(recorder, ColumnSum { x: &x, first_column: before, out: &out })
            })?;
            Ok(vec![out])
        })?;
        let sum = |column: usize| (0..rows).map(|row| exact(x[row * width + before + column])).sum();
        let wanted: Vec<Bound> = (0..columns).map(sum).collect();
        agree("Σ of a column", &found[0], &wanted, Rounding::sum(rows))
    });
}

pub(crate) fn map_norms() {
    check((extent(5), extent(70), extent(70), 0..3usize, values()), |(maps, rows, columns, at, values)| {
        let x = values.start().values(maps * rows * columns);
        let found = twice(|run| {
            let (x, row_sums) = (run.input([maps, rows, columns], &x)?, run.output([maps, rows])?);
            let out = run.gpu.upload([maps + 3], &vec![7.0; maps + 3])?;
            run.run(|recorder| {
                ops::map_norms(recorder, MapNorms { maps: &x, row_sums: &row_sums, out: &out, out_index: at })
            })?;
            Ok(vec![out])
        })?;
        let norm = |map: &[f32]| map.iter().map(|x| exact(*x) * exact(*x)).sum::<Bound>().sqrt();
        let wanted: Vec<Bound> = x.chunks_exact(rows * columns).map(norm).collect();
        let (written, beside): (Vec<_>, Vec<_>) =
            found[0].iter().enumerate().partition(|(i, _)| (at..at + maps).contains(i));
        let of = |part: Vec<(usize, &f32)>| part.into_iter().map(|(_, x)| *x).collect::<Vec<f32>>();
        same("the elements beside", &of(beside), &[7.0; 3])?;
        agree("‖map‖", &of(written), &wanted, Rounding::sum(rows + columns))
    });
}

pub(crate) fn head_products() {
    let shapes = (extent(3), extent(40), extent(4), extent(20), values());
    check(shapes, |(batch, t, heads, width, values)| {
        let d = heads * width;
        let mut source = values.start();
        let (a, b) = (source.values(batch * t * d), source.values(batch * t * d));
        let found = twice(|run| {
            let (a, b) = (run.input([batch * t, d], &a)?, run.input([batch * t, d], &b)?);
            let out = run.gpu.upload([batch * heads + 2], &vec![7.0; batch * heads + 2])?;
            run.run(|recorder| {
                ops::head_products(
                    recorder,
                    HeadProducts { a: &a, b: &b, batch, heads, out: &out, out_index: 1 },
                )
            })?;
            Ok(vec![out])
        })?;
        let product = |i: usize| {
            let (sequence, head) = (i / heads, i % heads);
            let rows = (0..t).map(|row| (sequence * t + row) * d + head * width);
            rows.flat_map(|start| start..start + width).map(|at| exact(a[at]) * exact(b[at])).sum()
        };
        let products = (0..batch * heads).map(product);
        let wanted: Vec<Bound> = [exact(7.0)].into_iter().chain(products).chain([exact(7.0)]).collect();
        same("the elements beside", &[found[0][0], found[0][batch * heads + 1]], &[7.0; 2])?;
        agree("Σ a ⊙ b of a head", &found[0], &wanted, Rounding::sum(t * width))
    });
}
