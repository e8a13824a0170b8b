// For one range of the vocabulary: m = max(logits), s = Σ exp(logits − m), and the target's logit if it is here.
//
// Shapes: logits [rows, count] of the tokens [first, first + count), targets [rows],
// stats [rows, ranges, 2] = (m, s) of range `range`, target_logit [rows].
// {{ lanes }} invocations own a row. Dispatch: (min(groups, 32768), ceil(groups / 32768), 1), {{ rows }} rows to a group.
struct Params { rows: u32, first: u32, count: u32, range: u32, ranges: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<Item>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> target_logit: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }}, {{ rows }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let wanted = (group.y * 32768u + group.x) * {{ rows }}u + local.y;
    // Surplus rows of the last workgroup have no items: no divergent return before a reduction.
    let surplus = wanted >= params.rows;
    let row = min(wanted, params.rows - 1u);
    let row_items = params.count / {{ 4 if quads else 1 }}u;
    let items = select(row_items, 0u, surplus);
    let start = row * row_items;
    var largest = largest_of(logits[start]);
    for (var j = lane; j < items; j += {{ lanes }}u) {
        largest = max(largest, largest_of(logits[start + j]));
    }
    largest = row_max(largest, lane);
    var total = Item();
    for (var j = lane; j < items; j += {{ lanes }}u) {
        total += exp(logits[start + j] - largest);
    }
    let sum = row_sum(sum_of(total), lane);
    if (lane == 0u && !surplus) {
        let at = 2u * (row * params.ranges + params.range);
        stats[at] = largest;
        stats[at + 1u] = sum;
        let here = targets[row] - params.first;
        if (targets[row] >= params.first && here < params.count) {
{% if quads %}
            target_logit[row] = logits[start + (here >> 2u)][here & 3u];
{% else %}
            target_logit[row] = logits[start + here];
{% endif %}
        }
    }
}
