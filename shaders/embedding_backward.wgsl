// ∂wte[w] {% if accumulate %}+{% endif %}= Σ_{i: tokens[i] = w} δ[i]
//
// The host sorts the rows of δ by token (no float atomics in WGSL): unique[u] is the u-th distinct token,
// its rows are order[offsets[u] .. offsets[u + 1]]. Surplus entries of unique have empty ranges.
// Shapes: unique [rows], offsets [rows + 1], order [rows], delta [rows, D], d_wte rows [first, first + count).
// One invocation owns one column of one distinct token. Dispatch: (ceil(D / 64), rows, 1).
struct Params { rows: u32, columns: u32, first: u32, count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> unique: array<u32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_wte: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let entry = id.y + id.z * 32768u;
    if (column >= params.columns || entry >= params.rows) {
        return;
    }
    let token = unique[entry];
    let begin = offsets[entry];
    let end = offsets[entry + 1u];
    if (begin == end || token < params.first || token >= params.first + params.count) {
        return;
    }
    var total = 0.0;
    for (var at = begin; at < end; at++) {
        total += delta[order[at] * params.columns + column];
    }
    let element = (token - params.first) * params.columns + column;
    d_wte[element] = {% if accumulate %}d_wte[element] + {% endif %}total;
}
