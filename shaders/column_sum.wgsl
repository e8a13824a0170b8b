// out[c][j] = Σ_{i in chunk c} x[i][x_column + j]
//
// Shapes: x [rows, x_stride], out [chunks, columns]; columns are counted in items: four
// neighbours where both have whole ones, else single elements. With one chunk this is
// the column sum (∂b = Σ_t δ_t); with several, a second dispatch over `out` finishes it.
// One invocation owns one item of out. Dispatch: (ceil(columns / 64), chunks, 1).
{% if quads %}
alias Item = vec4<f32>;
{% else %}
alias Item = f32;
{% endif %}
struct Params { rows: u32, columns: u32, x_stride: u32, x_column: u32, chunk_rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Item>;
@group(0) @binding(2) var<storage, read_write> out: array<Item>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    if (column >= params.columns) {
        return;
    }
    let first = id.y * params.chunk_rows;
    let end = min(first + params.chunk_rows, params.rows);
    var total = Item();
    for (var row = first; row < end; row++) {
        total += x[row * params.x_stride + params.x_column + column];
    }
    out[id.y * params.columns + column] = total;
}
