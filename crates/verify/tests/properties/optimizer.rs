//! The norm of all gradients with its clipping, and AdamW.

use crate::bounds::{Bound, exact, given};
use crate::device::{agree, check, twice};
use crate::rounding::Rounding;
use crate::values::{extent, values};
use retrograd_gpu::ops::{self, AdamW, GlobalNorm};
use retrograd_reference::ops as reference;

const LEARNING_RATE: f32 = 1e-3;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const ADAM_EPSILON: f32 = 1e-8;
const WEIGHT_DECAY: f32 = 0.1;

/// As [`ops::HYPERPARAMETERS`] says, for a first step.
fn hyperparameters(max_norm: f32) -> [f32; ops::HYPERPARAMETERS] {
    let corrections = [1.0 - f64::from(BETA1), (1.0 - f64::from(BETA2)).sqrt()];
    let [first, second] = corrections.map(|x| x as f32);
    [LEARNING_RATE, BETA1, BETA2, ADAM_EPSILON, WEIGHT_DECAY, first, second, max_norm]
}

pub(crate) fn global_norm() {
    let max_norms = proptest::sample::select(&[0.0f32, 1.0, 1e4][..]);
    check((extent(700), extent(5000), 0..40usize, max_norms, values()), |(a, b, long, max_norm, values)| {
        // Of one stretch and, rarely, of two.
        let counts = [a, if long == 0 { 16_384 + b } else { b }];
        let mut source = values.start();
        let gradients = counts.map(|count| source.values(count));
        let found = twice(|run| {
            let tensors = [run.input([counts[0]], &gradients[0])?, run.input([counts[1]], &gradients[1])?];
            let hyperparameters = run.input([ops::HYPERPARAMETERS], &hyperparameters(max_norm))?;
            let norm = run.output([2])?;
            run.run(|recorder| {
                let op = GlobalNorm { gradients: &tensors, hyperparameters: &hyperparameters, norm: &norm };
                ops::global_norm(recorder, op)
            })?;
            Ok(vec![norm])
        })?;
        let wide =
            gradients.each_ref().map(|values| values.iter().map(|&g| f64::from(g)).collect::<Vec<f64>>());
        let oracle = reference::global_norm(&[&wide[0], &wide[1]]);
        let norm = gradients.iter().flatten().map(|g| exact(*g) * exact(*g)).sum::<Bound>().sqrt();
        let norm = norm.with_value(oracle);
        let clip = if max_norm > 0.0 { (f64::from(max_norm) / (oracle + 1e-6)).min(1.0) } else { 1.0 };
        // A denormal's share of the norm is lost beside 1e-6.
        let clip = Bound { reach: norm.reach, floor: norm.floor * 1e12, ..given(clip) };
        agree("norm, factor", &found[0], &[norm, clip], Rounding::sum(counts[0] + counts[1]))
    });
}

pub(crate) fn adamw() {
    check((extent(3000), proptest::bool::ANY, values()), |(count, decay, values)| {
        let mut source = values.start();
        let [parameter, gradient, first] = [(); 3].map(|()| source.values(count));
        // A mean of squares: not negative, and as large as f32 can hold.
        let second: Vec<f32> = source.values(count).iter().map(|v| v.abs()).collect();
        let clip = 0.25f32;
        let found = twice(|run| {
            // Updated in place: what is an input here changes.
            let upload = |values: &[f32]| run.gpu.upload([count], values);
            let (parameter, first, second) = (upload(&parameter)?, upload(&first)?, upload(&second)?);
            let gradient = run.input([count], &gradient)?;
            let (norm, hyperparameters) =
                (run.input([2], &[4.0, clip])?, run.input([ops::HYPERPARAMETERS], &hyperparameters(1.0))?);
            run.run(|recorder| {
                let op = AdamW {
                    parameter: &parameter,
                    gradient: &gradient,
                    first_moment: &first,
                    second_moment: &second,
                    norm: &norm,
                    hyperparameters: &hyperparameters,
                    decay,
                };
                ops::adamw(recorder, op)
            })?;
            Ok(vec![parameter, first, second])
        })?;
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let (mut w, mut m, mut v) = (wide(&parameter), wide(&first), wide(&second));
        let clipped: Vec<f64> = gradient.iter().map(|g| f64::from(*g) * f64::from(clip)).collect();
        let options = reference::AdamW {
            lr: f64::from(LEARNING_RATE),
            beta1: f64::from(BETA1),
            beta2: f64::from(BETA2),
            eps: f64::from(ADAM_EPSILON),
            weight_decay: if decay { f64::from(WEIGHT_DECAY) } else { 0.0 },
            step: 1,
        };
        reference::adamw_step(&mut w, &clipped, &mut m, &mut v, options);
        let bounds: Vec<[Bound; 3]> = (0..count)
            .map(|i| {
                let g = exact(gradient[i]) * exact(clip);
                let m_bound = exact(BETA1) * exact(first[i]) + exact(1.0 - BETA1) * g;
                let v_bound = exact(BETA2) * exact(second[i]) + exact(1.0 - BETA2) * (g * g);
                // w − lr·m̂/(√v̂ + ε): a division by what is at least ε.
                let root = (v[i] / (1.0 - f64::from(BETA2))).sqrt();
                let divisor = given(1.0 / (root + f64::from(ADAM_EPSILON)));
                let step = exact(LEARNING_RATE) * m_bound * given(1.0 / (1.0 - f64::from(BETA1))) * divisor;
                let kept = exact(parameter[i]) * given(1.0 - options.lr * options.weight_decay);
                let w_bound = kept - step;
                // v̂ as f32 sees it must not overflow either; a v that is a denormal moves √v̂ by 1e-19 of ε's 1e-8.
                let reach = w_bound.reach.max(v_bound.reach / (1.0 - f64::from(BETA2)));
                let w_bound = Bound { reach, floor: w_bound.floor + 1e-10 * step.size, ..w_bound };
                [w_bound.with_value(w[i]), m_bound.with_value(m[i]), v_bound.with_value(v[i])]
            })
            .collect();
        // As verification allows a step.
        let rounding = Rounding::steps(8.0);
        for (at, what) in ["w", "m", "v"].into_iter().enumerate() {
            let wanted: Vec<Bound> = bounds.iter().map(|bounds| bounds[at]).collect();
            agree(what, &found[at], &wanted, rounding)?;
        }
        Ok(())
    });
}
