//! Slopes without calculus.

/// Where the error of the five-point rule, h⁴ of truncation against 10⁻¹⁶/h of rounding, is least.
const STEP: f64 = 1e-3;

/// `∂f/∂x_i ≈ (8·(f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h)))/12h` for each i.
pub fn slopes(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    (0..x.len()).map(|i| slope(x, i, &f)).collect()
}

/// The same for one i.
pub fn slope(x: &[f64], i: usize, f: impl Fn(&[f64]) -> f64) -> f64 {
    let at = |offset: f64| {
        let mut x = x.to_vec();
        x[i] += offset;
        f(&x)
    };
    (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * STEP)
}

/// Σ x ⊙ y: makes a scalar of an operation's output, with y its gradient.
pub fn inner(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// max |a − b| / max |b|; where b is 0 throughout, max |a|.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
    let apart = a.iter().zip(b).fold(0.0_f64, |max, (a, b)| max.max((a - b).abs()));
    assert!(a.iter().all(|x| x.is_finite()), "not finite");
    if scale == 0.0 { apart } else { apart / scale }
}

/// `gradient` is the gradient of `f` at `x`, within `tolerance` of its largest element.
pub fn assert_gradient(what: &str, x: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> f64, tolerance: f64) {
    let off = distance(gradient, &slopes(x, f));
    assert!(off <= tolerance, "{what}: {off:e} from the finite difference");
}
