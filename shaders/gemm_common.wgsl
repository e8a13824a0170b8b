// What every GEMM variant shares: parameters, bindings, operand loads and the epilogue.
//
//   C = epilogue(α · A·B)     NN: A [M, K], B [K, N]     NT: A [M, K], B [N, K]     TN: A [K, M], B [K, N]
//
// Operands are views: element (r, c) of A lies at a_base + r·lda + c, and so on. The grid's z counts maps of a
// batch; map z belongs to batch entry z / heads and head z mod heads, each with its own stride.
// Epilogue, in this order, each part only where asked for:
//   v = α·acc;  v += bias[n];  pre = v and v = gelu_new(v);  v *= gelu_new'(pre);  v += residual;  v += C
// `causal` (A or C is a T×T map, lower-triangular):
//   1: output tiles above the diagonal are not computed (they are written as 0)
//   2: A is lower-triangular [M, K]: k runs to the tile's last row      3: A is [K, M]: k starts at the tile's first
// An operand that is an image (`a_image`, `b_image`; see crates/gpu/src/image.rs) lies in strips of 64 columns (1), where
// texel (x, y) of layer l holds elements 64l + 4x .. 64l + 4x + 4 of row y, or row by row in one layer (2). Its `offset` is
// then the first row, its `ld` the first quad, its strides count rows.
struct Params {
    m: u32, n: u32, k: u32, heads: u32,
    lda: u32, ldb: u32, ldc: u32, causal: u32,
    a_offset: u32, a_batch: u32, a_head: u32,
    b_offset: u32, b_batch: u32, b_head: u32,
    c_offset: u32, c_batch: u32, c_head: u32,
    alpha: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
{# Four floats as they are loaded: as two u64 where that is cheaper. #}
{% set quad = "vec2<u64>" if wide else "vec4<f32>" %}
{% if a_image %}
@group(0) @binding(1) var a: texture_storage_2d_array<rgba32float, read>;
{% else %}
@group(0) @binding(1) var<storage, read> a: array<{% if vec_a %}{{ quad }}{% else %}f32{% endif %}>;
{% endif %}
{% if b_image %}
@group(0) @binding(2) var b: texture_storage_2d_array<{% if f16 %}rgba16float{% else %}rgba32float{% endif %}, read>;
{% elif f16 %}
@group(0) @binding(2) var<storage, read> b: array<{% if vec_b %}vec2<u32>{% else %}u32{% endif %}>;
{% else %}
@group(0) @binding(2) var<storage, read> b: array<{% if vec_b %}{{ quad }}{% else %}f32{% endif %}>;
{% endif %}
@group(0) @binding(3) var<storage, read_write> c: array<{% if vec_c %}vec4<f32>{% else %}f32{% endif %}>;
{% if bias %}
@group(0) @binding(4) var<storage, read> bias: array<{% if vec_c %}vec4<f32>{% else %}f32{% endif %}>;
{% endif %}
{% if residual %}
@group(0) @binding(5) var<storage, read> residual: array<{% if vec_c %}vec4<f32>{% else %}f32{% endif %}>;
{% endif %}
{% if gelu_backward %}
@group(0) @binding(6) var<storage, read> pre_activation: array<{% if vec_c %}vec4<f32>{% else %}f32{% endif %}>;
{% endif %}
{% if gelu %}
@group(0) @binding(6) var<storage, read_write> pre_activation: array<{% if vec_c %}vec4<f32>{% else %}f32{% endif %}>;
{% endif %}
{% if gelu or gelu_backward %}
{% include "gelu" %}
{% endif %}

{% if wide %}
// lavapipe loads lane by lane and component by component, with a bounds check each: half as many components of
// 64 bits are loaded in half the time.
fn floats(words: vec2<u64>) -> vec4<f32> {
    let low = bitcast<vec2<f32>>(vec2<u32>(words));
    let high = bitcast<vec2<f32>>(vec2<u32>(words >> vec2<u32>(32u)));
    return vec4<f32>(low.x, high.x, low.y, high.y);
}
{% else %}
fn floats(quad: vec4<f32>) -> vec4<f32> {
    return quad;
}
{% endif %}

{% for operand, image in [["a", a_image], ["b", b_image]] %}
{% if image %}
fn texel_{{ operand }}(quad: u32, row: u32) -> vec4<f32> {
{% if image == 1 %}
    return textureLoad({{ operand }}, vec2<u32>(quad & 15u, row), quad >> 4u);
{% else %}
    return textureLoad({{ operand }}, vec2<u32>(quad, row), 0u);
{% endif %}
}
{% endif %}
{% endfor %}

{% if form == 2 %}
// A[k][row .. row + 4], 0 from k = K on; rows past the end repeat the last, and are never stored.
fn load_a(base: u32, k: u32, row: u32) -> vec4<f32> {
{% if a_image %}
    let quad = params.lda + (min(row, params.m - 1u) >> 2u);
    let v = texel_a(quad, base + min(k, params.k - 1u));
{% else %}
    let start = base + min(k, params.k - 1u) * params.lda;
{% endif %}
{% if a_image %}
{% elif vec_a %}
    let v = floats(a[(start + min(row, params.m - 4u)) >> 2u]);
{% else %}
    let last = params.m - 1u;
    let v = vec4<f32>(a[start + min(row, last)], a[start + min(row + 1u, last)],
                      a[start + min(row + 2u, last)], a[start + min(row + 3u, last)]);
{% endif %}
    return select(vec4<f32>(0.0), v, k < params.k);
}
{% else %}
// A[row][k .. k + 4], 0 from k = K on; rows past the end repeat the last, and are never stored.
fn load_a(base: u32, row: u32, k: u32) -> vec4<f32> {
{% if a_image %}
    let quad = params.lda + ({% if unroll > 1 %}min(k, params.k - 1u){% else %}k{% endif %} >> 2u);
    let v = texel_a(quad, base + min(row, params.m - 1u));
    return {% if unroll > 1 %}select(vec4<f32>(0.0), v, k < params.k){% else %}v{% endif %};
{% else %}
    let start = base + min(row, params.m - 1u) * params.lda;
{% endif %}
{% if a_image %}
{% elif vec_a %}
    return floats(a[(start + k) >> 2u]);
{% else %}
    let last = params.k - 1u;
    let v = vec4<f32>(a[start + min(k, last)], a[start + min(k + 1u, last)],
                      a[start + min(k + 2u, last)], a[start + min(k + 3u, last)]);
    return select(vec4<f32>(0.0), v, vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(params.k));
{% endif %}
}
{% endif %}

{% if b_image %}
{% elif f16 and not vec_b %}
fn element_b(at: u32) -> f32 {
    return unpack2x16float(b[at >> 1u])[at & 1u];
}
{% elif not vec_b %}
fn element_b(at: u32) -> f32 {
    return b[at];
}
{% else %}
fn quad_b(at: u32) -> vec4<f32> {
{% if f16 %}
    let words = b[at >> 2u];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
{% else %}
    return floats(b[at >> 2u]);
{% endif %}
}
{% endif %}

{% if form == 1 %}
// B[column][k .. k + 4]; past the end in either direction the last element repeats (A is 0 there).
fn load_b(base: u32, column: u32, k: u32) -> vec4<f32> {
{% if b_image %}
    let quad = params.ldb + ({% if unroll > 1 %}min(k, params.k - 1u){% else %}k{% endif %} >> 2u);
    return texel_b(quad, base + min(column, params.n - 1u));
{% else %}
    let start = base + min(column, params.n - 1u) * params.ldb;
{% endif %}
{% if b_image %}
{% elif vec_b %}
    return quad_b(start + k);
{% else %}
    let last = params.k - 1u;
    return vec4<f32>(element_b(start + min(k, last)), element_b(start + min(k + 1u, last)),
                     element_b(start + min(k + 2u, last)), element_b(start + min(k + 3u, last)));
{% endif %}
}
{% else %}
// B[k][column .. column + 4]; past the end in either direction the last element repeats (A is 0 there).
fn load_b(base: u32, k: u32, column: u32) -> vec4<f32> {
{% if b_image %}
    let quad = params.ldb + (min(column, params.n - 1u) >> 2u);
    return texel_b(quad, base + min(k, params.k - 1u));
{% else %}
    let start = base + min(k, params.k - 1u) * params.ldb;
{% endif %}
{% if b_image %}
{% elif vec_b %}
    return quad_b(start + min(column, params.n - 4u));
{% else %}
    let last = params.n - 1u;
    return vec4<f32>(element_b(start + min(column, last)), element_b(start + min(column + 1u, last)),
                     element_b(start + min(column + 2u, last)), element_b(start + min(column + 3u, last)));
{% endif %}
}
{% endif %}

{% if vec_c %}
alias Stored = vec4<f32>;
{% else %}
alias Stored = f32;
{% endif %}

// One element of C, or four neighbours of a row (N is then a multiple of 4).
fn store(base: u32, row: u32, column: u32, accumulated: Stored) {
    if (row >= params.m || column >= params.n) {
        return;
    }
    let at = (base + row * params.ldc + column){% if vec_c %} >> 2u{% endif %};
    var v = params.alpha * accumulated;
{% if bias %}
    v += bias[column{% if vec_c %} >> 2u{% endif %}];
{% endif %}
{% if gelu %}
    pre_activation[at] = v;
    v = gelu_new(v);
{% endif %}
{% if gelu_backward %}
    v *= gelu_new_derivative(pre_activation[at]);
{% endif %}
{% if residual %}
    v += residual[at];
{% endif %}
{% if accumulate %}
    v += c[at];
{% endif %}
    c[at] = v;
}
