// out[c][j] = Σ_{i in chunk c} x[i][x_column + j]
//
// Shapes: x [rows, x_stride], out [chunks, columns] from element `out_offset` on. With one chunk this is
// the column sum (∂b = Σ_t δ_t); with several, a second dispatch over `out` finishes it.
// One invocation owns one element of out. Dispatch: (ceil(columns / 64), chunks, 1).
struct Params { rows: u32, columns: u32, x_stride: u32, x_column: u32, chunk_rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    if (column >= params.columns) {
        return;
    }
    let first = id.y * params.chunk_rows;
    let end = min(first + params.chunk_rows, params.rows);
    var total = 0.0;
    for (var row = first; row < end; row++) {
        total += x[row * params.x_stride + params.x_column + column];
    }
    out[id.y * params.columns + column] = total;
}
