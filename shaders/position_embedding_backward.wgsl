// ∂wpe[t] = Σ_b δ[b·context + t] for t < context, 0 for the positions after
//
// Shapes: delta [batch·context, D], d_wpe [n_positions, D].
// One invocation owns one element of d_wpe. Dispatch: (ceil(D / 64), n_positions, 1).
struct Params { batch: u32, context: u32, columns: u32, positions: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> delta: array<f32>;
@group(0) @binding(2) var<storage, read_write> d_wpe: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let position = id.y + id.z * 32768u;
    if (column >= params.columns || position >= params.positions) {
        return;
    }
    var total = 0.0;
    if (position < params.context) {
        for (var b = 0u; b < params.batch; b++) {
            total += delta[(b * params.context + position) * params.columns + column];
        }
    }
    d_wpe[position * params.columns + column] = total;
}
