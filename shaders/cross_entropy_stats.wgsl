// For one range of the vocabulary: m = max(logits), s = Σ exp(logits − m), and the target's logit if it is here.
//
// Shapes: logits [rows, count] of the tokens [first, first + count), targets [rows],
// stats [rows, ranges, 2] = (m, s) of range `range`, target_logit [rows].
// One workgroup of {{ lanes }} invocations owns a row. Dispatch: (min(rows, 32768), ceil(rows / 32768), 1).
struct Params { rows: u32, first: u32, count: u32, range: u32, ranges: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> target_logit: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let row = min(group.y * 32768u + group.x, params.rows - 1u);
    let start = row * params.count;
    var largest = logits[start];
    for (var j = lane; j < params.count; j += {{ lanes }}u) {
        largest = max(largest, logits[start + j]);
    }
    largest = row_max(largest, lane);
    var total = 0.0;
    for (var j = lane; j < params.count; j += {{ lanes }}u) {
        total += exp(logits[start + j] - largest);
    }
    total = row_sum(total, lane);
    if (lane == 0u) {
        let at = 2u * (row * params.ranges + params.range);
        stats[at] = largest;
        stats[at + 1u] = total;
        let here = targets[row] - params.first;
        if (targets[row] >= params.first && here < params.count) {
            target_logit[row] = logits[start + here];
        }
    }
}
