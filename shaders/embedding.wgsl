// x[i] = wte[tokens[i]] + wpe[position(i)],  position(i) = start + i mod context
//
// Shapes: tokens [rows], start [1], wte rows [first, first + count) of the vocabulary, wpe [n_positions, D],
// x [rows, D]. The vocabulary comes in row ranges: each token's row is written by the one dispatch whose
// range holds it. One invocation owns one element of x. Dispatch: (ceil(D / 64), rows, 1).
struct Params { rows: u32, columns: u32, context: u32, first: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read> start: array<u32>;
{% if image %}
// In strips of 64 columns, as `pack` writes them.
@group(0) @binding(3) var wte: texture_storage_2d_array<{% if f16 %}rgba16float{% else %}rgba32float{% endif %}, read>;
{% else %}
@group(0) @binding(3) var<storage, read> wte: array<{% if f16 %}u32{% else %}f32{% endif %}>;
{% endif %}
@group(0) @binding(4) var<storage, read> wpe: array<f32>;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y + id.z * 32768u;
    if (column >= params.columns || row >= params.rows) {
        return;
    }
    let token = tokens[row];
    if (token < params.first || token >= params.first + params.count) {
        return;
    }
{% if image %}
    let texel = textureLoad(wte, vec2<u32>((column >> 2u) & 15u, token - params.first), column >> 6u);
    let embedded = texel[column & 3u];
{% else %}
    let element = (token - params.first) * params.columns + column;
{% endif %}
{% if image %}
{% elif f16 %}
    let embedded = unpack2x16float(wte[element >> 1u])[element & 1u];
{% else %}
    let embedded = wte[element];
{% endif %}
    let position = start[0] + row % params.context;
    x[row * params.columns + column] = embedded + wpe[position * params.columns + column];
}
