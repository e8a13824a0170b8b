// A[i][j] = exp(S[i][j] − max_{t ≤ i} S[i][t]) / Σ_{t ≤ i} …  for j ≤ i, exactly 0 for j > i; in place.
//
// Shapes: s [maps, T, T]: scaled scores in, pattern out. Nothing above the diagonal is read: no −inf is
// needed, which WGSL may assume away. One workgroup of {{ lanes }} invocations owns a row.
// Dispatch: (T, maps, 1).
struct Params { context: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> s: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let row = group.x;
    let start = (group.y * params.context + row) * params.context;

    var largest = s[start];
    for (var j = lane; j <= row; j += {{ lanes }}u) {
        largest = max(largest, s[start + j]);
    }
    largest = row_max(largest, lane);
    var total = 0.0;
    for (var j = lane; j <= row; j += {{ lanes }}u) {
        let e = exp(s[start + j] - largest);
        s[start + j] = e;
        total += e;
    }
    total = row_sum(total, lane);
    for (var j = lane; j < params.context; j += {{ lanes }}u) {
        s[start + j] = select(0.0, s[start + j] / total, j <= row);
    }
}
