// gelu_new(x) = ½x(1 + tanh(u)),  u = √(2/π)(x + 0.044715x³),  and its derivative. Included by the GEMMs.
//
// tanh is NaN beyond ±88 on some drivers, and on others one bit short of 1 where it is 1 in f32, which the derivative
// multiplies by x³: from ±9.01 on it is ±1.
fn gelu_tanh(x: Stored) -> Stored {
    let u = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    let within = clamp(u, Stored(-9.01), Stored(9.01));
    return select(tanh(within), sign(within), abs(within) >= Stored(9.01));
}

fn gelu_new(x: Stored) -> Stored {
    return 0.5 * x * (1.0 + gelu_tanh(x));
}

// gelu_new'(x) = ½(1 + t) + ½x(1 − t²)·u'(x),  u'(x) = √(2/π)(1 + 3·0.044715x²)
fn gelu_new_derivative(x: Stored) -> Stored {
    let t = gelu_tanh(x);
    let slope = 0.7978845608028654 * (1.0 + 0.134145 * x * x);
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope;
}
