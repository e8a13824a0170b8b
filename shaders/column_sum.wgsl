// out[c][j] = Σ_{i in chunk c} x[i][x_column + j]
//
// Shapes: x [rows, x_stride], out [chunks, columns]; columns are counted in items: four
// neighbours where both have whole ones, else single elements. With one chunk this is
// the column sum (∂b = Σ_t δ_t); with several, a second dispatch over `out` finishes it.
// {{ parts }} invocations share one item of out. Dispatch: (ceil(columns / {{ columns }}), chunks, 1).
{% include "column_parts" %}
struct Params { rows: u32, columns: u32, x_stride: u32, x_column: u32, chunk_rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Item>;
@group(0) @binding(2) var<storage, read_write> out: array<Item>;

@compute @workgroup_size({{ columns }}, {{ parts }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let column = group.x * {{ columns }}u + local.x;
    let first = group.y * params.chunk_rows;
    let end = select(first, min(first + params.chunk_rows, params.rows), column < params.columns);
    var total = Item();
    for (var row = first + local.y; row < end; row += {{ parts }}u) {
        total += x[row * params.x_stride + params.x_column + column];
    }
    total = all_parts(total, local);
    if (local.y == 0u && column < params.columns) {
        out[group.y * params.columns + column] = total;
    }
}
