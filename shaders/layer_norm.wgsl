// y = γ ⊙ (x − μ)/σ + β,  μ = mean(x),  1/σ = 1/sqrt(mean((x − μ)²) + ε)
//
// Shapes: x [*, D] from row `x_row` on, gamma [D], beta [D], y [rows, D], stats [rows, 2] = (μ, 1/σ).
// Two passes over the row, never E[x²] − E[x]²: residual streams have channels in the thousands.
// One workgroup of {{ lanes }} invocations owns a row of y and of stats.
// Dispatch: (min(rows, 32768), ceil(rows / 32768), 1).
struct Params { rows: u32, columns: u32, epsilon: f32, x_row: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    // Surplus workgroups of the last grid row repeat its last row: no divergent return before a barrier.
    let row = min(group.y * 32768u + group.x, params.rows - 1u);
    let from_start = (row + params.x_row) * params.columns;
    let to_start = row * params.columns;
    let count = f32(params.columns);

    var total = 0.0;
    for (var j = lane; j < params.columns; j += {{ lanes }}u) {
        total += x[from_start + j];
    }
    let mean = row_sum(total, lane) / count;
    var squares = 0.0;
    for (var j = lane; j < params.columns; j += {{ lanes }}u) {
        let centred = x[from_start + j] - mean;
        squares += centred * centred;
    }
    let inverse = 1.0 / sqrt(row_sum(squares, lane) / count + params.epsilon);

    for (var j = lane; j < params.columns; j += {{ lanes }}u) {
        y[to_start + j] = (x[from_start + j] - mean) * inverse * gamma[j] + beta[j];
    }
    if (lane == 0u) {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = inverse;
    }
}
