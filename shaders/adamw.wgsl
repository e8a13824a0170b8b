// One AdamW step (Loshchilov & Hutter 2019), in PyTorch's order, with the gradient scaled by clip:
//
//   w ← w − lr·λ·w;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  w ← w − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)
//
// Shapes: w, g, m, v [count]; norm [2] = (norm, clip); hyper [8] = lr, β₁, β₂, ε, λ, 1 − β₁ᵗ, √(1 − β₂ᵗ), max_norm.
// `decay` is 0 for tensors that are not decayed. `count` is in items: four neighbours where the tensor
// has whole ones, else single elements. One invocation owns one item of w, m and v.
// Dispatch: (min(ceil(count / 64), 32768), rest, 1).
{% if quads %}
alias Item = vec4<f32>;
{% else %}
alias Item = f32;
{% endif %}
struct Params { count: u32, decay: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> w: array<Item>;
@group(0) @binding(2) var<storage, read> g: array<Item>;
@group(0) @binding(3) var<storage, read_write> m: array<Item>;
@group(0) @binding(4) var<storage, read_write> v: array<Item>;
@group(0) @binding(5) var<storage, read> norm: array<f32>;
@group(0) @binding(6) var<storage, read> hyper: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * 2097152u + id.x;
    if (i >= params.count) {
        return;
    }
    let rate = hyper[0];
    let gradient = g[i] * norm[1];
    let first = hyper[1] * m[i] + (1.0 - hyper[1]) * gradient;
    let second = hyper[2] * v[i] + (1.0 - hyper[2]) * gradient * gradient;
    m[i] = first;
    v[i] = second;
    let kept = w[i] - rate * hyper[4] * params.decay * w[i];
    w[i] = kept - (rate / hyper[5]) * (first / (sqrt(second) / hyper[6] + hyper[3]));
}
