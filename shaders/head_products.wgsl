// out[out_index + b·H + h] = Σ_t Σ_c a[b, t, h·d + c] · b[b, t, h·d + c]
//
// The inner product of what a head wrote with the gradient of that: Σ o ⊙ ∂o = Σ A ⊙ ∂L/∂A, to first order how much the loss
// falls when the head is silenced, negated. Shapes: a, b [batch · T, H · d], out one element for each sequence and head.
// {{ lanes }} invocations own an element of out. Dispatch: (ceil(batch · H / {{ rows }}), 1, 1), from 32,768 groups on in y too.
struct Params { count: u32, heads: u32, context: u32, head_items: u32, out_index: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Item>;
@group(0) @binding(2) var<storage, read> b: array<Item>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }}, {{ rows }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let element = (group.y * 32768u + group.x) * {{ rows }}u + local.y;
    let sequence = element / params.heads;
    let head = element % params.heads;
    // Surplus elements have no items: no divergent return before a reduction.
    let items = select(0u, params.context * params.head_items, element < params.count);
    let start = sequence * params.context * params.heads * params.head_items + head * params.head_items;
    var total = Item();
    for (var j = lane; j < items; j += {{ lanes }}u) {
        let at = start + (j / params.head_items) * params.heads * params.head_items + j % params.head_items;
        total += a[at] * b[at];
    }
    let sum = row_sum(sum_of(total), lane);
    if (lane == 0u && element < params.count) {
        out[params.out_index + element] = sum;
    }
}
