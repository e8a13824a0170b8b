// out[out_index] = scale · Σ_i a[i]{% if weighted %}·b[i]{% endif %}  over this workgroup's stretch of `a`
//
// The loss of a pass from its row losses (mean), and the value Σ δ ⊙ logits of a caller's own objective.
// Shapes: a [count]{% if weighted %}, b [count]{% endif %}, out [.. groups]: one element per workgroup, from `out_index` on.
// One workgroup of 64 owns one element of out and `stretch` elements of a. Dispatch: (groups, 1, 1).
struct Params { count: u32, stretch: u32, out_index: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
{% if weighted %}
@group(0) @binding(2) var<storage, read> b: array<f32>;
{% endif %}
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let first = group.x * params.stretch;
    let end = min(first + params.stretch, params.count);
    var total = 0.0;
    for (var i = first + lane; i < end; i += {{ lanes }}u) {
        total += a[i]{% if weighted %} * b[i]{% endif %};
    }
    total = row_sum(total, lane);
    if (lane == 0u) {
        out[params.out_index + group.x] = total * params.scale;
    }
}
