// out[out_index + r] = {% if root %}√{% endif %}Σ_j x[r][j]{% if squares %}²{% endif %}
//
// The Frobenius norm of each map of a stack, in two dispatches: the squares of each row are added up (`squares`), then the
// rows of each map, and the root is taken (`root`). Shapes: x [rows, columns] (counted in items), out: one element a row from
// `out_index` on. {{ lanes }} invocations own a row. Dispatch: (ceil(rows / {{ rows }}), 1, 1), from 32,768 groups on in y too.
struct Params { rows: u32, columns: u32, out_index: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Item>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }}, {{ rows }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let row = (group.y * 32768u + group.x) * {{ rows }}u + local.y;
    // Surplus rows have no columns: no divergent return before a reduction.
    let columns = select(0u, params.columns, row < params.rows);
    let start = row * params.columns;
    var total = Item();
    for (var j = lane; j < columns; j += {{ lanes }}u) {
        let item = x[start + j];
        total += item{% if squares %} * item{% endif %};
    }
    let sum = row_sum(sum_of(total), lane);
    if (lane == 0u && row < params.rows) {
        out[params.out_index + row] = {% if root %}sqrt(sum){% else %}sum{% endif %};
    }
}
