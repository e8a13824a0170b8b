// image[first_row + r] = source[r]: a matrix from a buffer into an image, as matrix products read it fastest.
//
// Shapes: source [rows, columns] with `stride` elements from row to row, image: strips of 64 columns, texel (x, y) of layer l
// holds elements 64l + 4x .. 64l + 4x + 4 of row y, or (`rows`) row by row in one layer; elements past the last column are
// written as 0.
// One invocation owns one texel. Dispatch: (ceil(columns / 4 / 64), rows, 1).
struct Params { rows: u32, columns: u32, stride: u32, offset: u32, first_row: u32 }
@group(0) @binding(0) var<uniform> params: Params;
{% if f16 %}
@group(0) @binding(1) var<storage, read> source: array<u32>;
@group(0) @binding(2) var image: texture_storage_2d_array<rgba16float, write>;
{% else %}
@group(0) @binding(1) var<storage, read> source: array<{% if vec %}{% if wide %}vec2<u64>{% else %}vec4<f32>{% endif %}{% else %}f32{% endif %}>;
@group(0) @binding(2) var image: texture_storage_2d_array<rgba32float, write>;
{% endif %}

{% if f16 %}
fn element(at: u32) -> f32 {
    return unpack2x16float(source[at >> 1u])[at & 1u];
}
{% elif not vec %}
fn element(at: u32) -> f32 {
    return source[at];
}
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x * 4u;
    let row = id.y + id.z * 32768u;
    if (column >= params.columns || row >= params.rows) {
        return;
    }
    let start = params.offset + row * params.stride + column;
{% if vec and not f16 %}
{% if wide %}
    let words = source[start >> 2u];
    let low = bitcast<vec2<f32>>(vec2<u32>(words));
    let high = bitcast<vec2<f32>>(vec2<u32>(words >> vec2<u32>(32u)));
    let quad = vec4<f32>(low.x, high.x, low.y, high.y);
{% else %}
    let quad = source[start >> 2u];
{% endif %}
{% else %}
    let last = params.columns - column - 1u;
    let wanted = vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(last);
    let loaded = vec4<f32>(element(start), element(start + min(1u, last)), element(start + min(2u, last)), element(start + min(3u, last)));
    let quad = select(vec4<f32>(0.0), loaded, wanted);
{% endif %}
{% if rows %}
    textureStore(image, vec2<u32>(id.x, params.first_row + row), 0u, quad);
{% else %}
    textureStore(image, vec2<u32>(id.x & 15u, params.first_row + row), id.x >> 4u, quad);
{% endif %}
}
