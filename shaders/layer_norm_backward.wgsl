// ∂x = upstream + (h − mean(h) − x̂ ⊙ mean(h ⊙ x̂))/σ,  h = γ ⊙ ∂y,  x̂ = (x − μ)/σ
//
// `upstream` is the gradient that reaches x past the norm (the residual branch){% if not upstream %}; here there is none{% endif %}.
// Shapes: dy [rows, D], x [*, D], gamma [D], stats [rows, 2] = (μ, 1/σ), {% if upstream %}upstream [*, D], {% endif %}dx [*, D].
// Row i of dy and stats belongs to row i + x_row of x, upstream and dx.
// {{ lanes }} invocations own a row of dx.
// Dispatch: (min(groups, 32768), ceil(groups / 32768), 1), {{ rows }} rows to a group.
struct Params { rows: u32, columns: u32, x_row: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<Item>;
@group(0) @binding(2) var<storage, read> x: array<Item>;
@group(0) @binding(3) var<storage, read> gamma: array<Item>;
@group(0) @binding(4) var<storage, read> stats: array<f32>;
{% if upstream %}
@group(0) @binding(5) var<storage, read> upstream: array<Item>;
{% endif %}
@group(0) @binding(6) var<storage, read_write> dx: array<Item>;

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
    let dy_start = row * row_items;
    let x_start = (row + params.x_row) * row_items;
    let mean = stats[2u * row];
    let inverse = stats[2u * row + 1u];
    let count = f32(params.columns);

    var sum_h = Item();
    var sum_hx = Item();
    for (var j = lane; j < items; j += {{ lanes }}u) {
        let h = gamma[j] * dy[dy_start + j];
        sum_h += h;
        sum_hx += h * ((x[x_start + j] - mean) * inverse);
    }
    let mean_h = row_sum(sum_of(sum_h), lane) / count;
    let mean_hx = row_sum(sum_of(sum_hx), lane) / count;

    for (var j = lane; j < items; j += {{ lanes }}u) {
        let h = gamma[j] * dy[dy_start + j];
        let normed = (x[x_start + j] - mean) * inverse;
        dx[x_start + j] = {% if upstream %}upstream[x_start + j] + {% endif %}(h - mean_h - normed * mean_hx) * inverse;
    }
}
