// R = A ⊙ (E − rowsum(A ⊙ E)) / √d: Reversed Attention, ∂L/∂(q·kᵀ), from E = ∂o·vᵀ.
//
// Exactly 0 above the diagonal, and in rows before `first_row`, whose ∂o is 0. The row sum is taken over
// A ⊙ E and not as ∂o·o: the two differ when the forward pass was patched.
// Shapes: pattern [maps, T, T], e [maps, T, T], reversed [maps, T, T].
// {{ lanes }} invocations own a row of reversed. Dispatch:
// (ceil(T / {{ rows }}), maps, 1), {{ rows }} rows to a group.
struct Params { context: u32, first_row: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pattern: array<f32>;
@group(0) @binding(2) var<storage, read> e: array<f32>;
@group(0) @binding(3) var<storage, read_write> reversed: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }}, {{ rows }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let row = group.x * {{ rows }}u + local.y;
    // Surplus rows of a map's last workgroup have no columns: no divergent return before a reduction.
    let columns = select(0u, params.context, row < params.context);
    let start = (group.y * params.context + min(row, params.context - 1u)) * params.context;
    // Columns that carry a gradient: none in the rows before the first.
    let end = select(min(row + 1u, columns), 0u, row < params.first_row);

    var dot = 0.0;
    for (var j = lane; j < end; j += {{ lanes }}u) {
        dot += pattern[start + j] * e[start + j];
    }
    dot = row_sum(dot, lane);
    for (var j = lane; j < columns; j += {{ lanes }}u) {
        var r = 0.0;
        if (j < end) {
            r = pattern[start + j] * (e[start + j] - dot) * params.scale;
        }
        reversed[start + j] = r;
    }
}
