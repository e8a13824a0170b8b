// y = γ ⊙ (x − μ)/σ + β,  μ = mean(x),  1/σ = 1/sqrt(mean((x − μ)²) + ε)
//
// Shapes: x [*, D] from row `x_row` on, gamma [D], beta [D], y [rows, D], stats [rows, 2] = (μ, 1/σ).
// Two passes over the row, never E[x²] − E[x]²: residual streams have channels in the thousands.
// {{ lanes }} invocations own a row of y and of stats.
// Dispatch: (min(groups, 32768), ceil(groups / 32768), 1), {{ rows }} rows to a group.
struct Params { rows: u32, columns: u32, epsilon: f32, x_row: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Item>;
@group(0) @binding(2) var<storage, read> gamma: array<Item>;
@group(0) @binding(3) var<storage, read> beta: array<Item>;
@group(0) @binding(4) var<storage, read_write> y: array<Item>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }}, {{ rows }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let wanted = (group.y * 32768u + group.x) * {{ rows }}u + local.y;
    // Surplus rows of the last workgroup have no items: no divergent return before a reduction.
    let surplus = wanted >= params.rows;
    let row = min(wanted, params.rows - 1u);
    let row_items = params.columns / {{ 4 if quads else 1 }}u;
    let items = select(row_items, 0u, surplus);
    let from_start = (row + params.x_row) * row_items;
    let to_start = row * row_items;
    let count = f32(params.columns);

    var total = Item();
    for (var j = lane; j < items; j += {{ lanes }}u) {
        total += x[from_start + j];
    }
    let mean = row_sum(sum_of(total), lane) / count;
    var squares = Item();
    for (var j = lane; j < items; j += {{ lanes }}u) {
        let centred = x[from_start + j] - mean;
        squares += centred * centred;
    }
    let inverse = 1.0 / sqrt(row_sum(sum_of(squares), lane) / count + params.epsilon);

    for (var j = lane; j < items; j += {{ lanes }}u) {
        y[to_start + j] = (x[from_start + j] - mean) * inverse * gamma[j] + beta[j];
    }
    if (lane == 0u && !surplus) {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = inverse;
    }
}
