// ∂γ = Σ_rows ∂y ⊙ x̂,  ∂β = Σ_rows ∂y,  over one chunk of rows; `column_sum` adds the chunks up.
//
// Shapes: dy [rows, D], x [*, D] from row `x_row` on, stats [rows, 2] = (μ, 1/σ),
// sums [chunks, 2D]: columns 0..D hold ∂γ, D..2D hold ∂β.
// D is counted in items: four neighbours, or single elements.
// {{ parts }} invocations share one item of one chunk. Dispatch: (ceil(D / {{ columns }}), chunks, 1).
{% include "column_parts" %}
struct Params { rows: u32, columns: u32, x_row: u32, chunk_rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<Item>;
@group(0) @binding(2) var<storage, read> x: array<Item>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<Item>;

@compute @workgroup_size({{ columns }}, {{ parts }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let column = group.x * {{ columns }}u + local.x;
    let first = group.y * params.chunk_rows;
    let end = select(first, min(first + params.chunk_rows, params.rows), column < params.columns);
    var d_gamma = Item();
    var d_beta = Item();
    for (var row = first + local.y; row < end; row += {{ parts }}u) {
        let gradient = dy[row * params.columns + column];
        let centred = x[(row + params.x_row) * params.columns + column] - stats[2u * row];
        d_gamma += gradient * (centred * stats[2u * row + 1u]);
        d_beta += gradient;
    }
    d_gamma = all_parts(d_gamma, local);
    d_beta = all_parts(d_beta, local);
    if (local.y == 0u && column < params.columns) {
        let start = group.y * 2u * params.columns;
        sums[start + column] = d_gamma;
        sums[start + params.columns + column] = d_beta;
    }
}
