// ∂γ = Σ_rows ∂y ⊙ x̂,  ∂β = Σ_rows ∂y,  over one chunk of rows; `column_sum` adds the chunks up.
//
// Shapes: dy [rows, D], x [*, D] from row `x_row` on, stats [rows, 2] = (μ, 1/σ),
// sums [chunks, 2D]: columns 0..D hold ∂γ, D..2D hold ∂β.
// D is counted in items: four neighbours, or single elements.
// One invocation owns one item of one chunk. Dispatch: (ceil(D / 64), chunks, 1).
{% if quads %}
alias Item = vec4<f32>;
{% else %}
alias Item = f32;
{% endif %}
struct Params { rows: u32, columns: u32, x_row: u32, chunk_rows: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<Item>;
@group(0) @binding(2) var<storage, read> x: array<Item>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> sums: array<Item>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    if (column >= params.columns) {
        return;
    }
    let first = id.y * params.chunk_rows;
    let end = min(first + params.chunk_rows, params.rows);
    var d_gamma = Item();
    var d_beta = Item();
    for (var row = first; row < end; row++) {
        let gradient = dy[row * params.columns + column];
        let centred = x[(row + params.x_row) * params.columns + column] - stats[2u * row];
        d_gamma += gradient * (centred * stats[2u * row + 1u]);
        d_beta += gradient;
    }
    let start = id.y * 2u * params.columns;
    sums[start + column] = d_gamma;
    sums[start + params.columns + column] = d_beta;
}
