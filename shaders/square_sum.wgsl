// out[out_index + g] = Σ x² over the g-th stretch of x: the first half of a global norm.
//
// Shapes: x [count] (counted in items, as `stretch` is), out: one element per workgroup from `out_index` on.
// One workgroup of {{ lanes }} invocations owns one element of out. Dispatch: (ceil(count / stretch), 1, 1).
struct Params { count: u32, stretch: u32, out_index: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Item>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let first = group.x * params.stretch;
    let end = min(first + params.stretch, params.count);
    var total = Item();
    for (var i = first + lane; i < end; i += {{ lanes }}u) {
        total += x[i] * x[i];
    }
    let sum = row_sum(sum_of(total), lane);
    if (lane == 0u) {
        out[params.out_index + group.x] = sum;
    }
}
