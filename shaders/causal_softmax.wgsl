// A[i][j] = exp(S[i][j] − max_{t ≤ i} S[i][t]) / Σ_{t ≤ i} …  for j ≤ i, exactly 0 for j > i; in place.
//
// Shapes: s [maps, T, T]: scaled scores in, pattern out. Nothing above the diagonal is read: no −inf is
// needed, which WGSL may assume away. {{ lanes }} invocations own a row.
// Dispatch: (ceil(T / {{ rows }}), maps, 1), {{ rows }} rows to a group.
struct Params { context: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> s: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }}, {{ rows }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let row = group.x * {{ rows }}u + local.y;
    // Surplus rows of a map's last workgroup have no columns: no divergent return before a reduction.
    let columns = select(0u, params.context, row < params.context);
    let end = min(row + 1u, columns);
    let start = (group.y * params.context + min(row, params.context - 1u)) * params.context;

    var largest = s[start];
    for (var j = lane; j < end; j += {{ lanes }}u) {
        largest = max(largest, s[start + j]);
    }
    largest = row_max(largest, lane);
    // The sum is made of the very exponentials that it divides: a row sums to 1 whatever exp's own error.
    var total = 0.0;
    for (var j = lane; j < end; j += {{ lanes }}u) {
        total += exp(s[start + j] - largest);
    }
    total = row_sum(total, lane);
    for (var j = lane; j < end; j += {{ lanes }}u) {
        s[start + j] = exp(s[start + j] - largest) / total;
    }
    // The lane's first column above the diagonal; none in a surplus row.
    let first = end + (lane + {{ lanes }}u - end % {{ lanes }}u) % {{ lanes }}u;
    for (var j = first; j < columns; j += {{ lanes }}u) {
        s[start + j] = 0.0;
    }
}
