// out = a + scale · b, element by element: attention patching, A' = A + αM.
//
// Shapes: a, b, out of `count` elements each. One invocation owns one element of out.
// Dispatch: (min(ceil(count / 64), 32768), rest, 1).
struct Params { count: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * 2097152u + id.x;
    if (i < params.count) {
        out[i] = a[i] + params.scale * b[i];
    }
}
