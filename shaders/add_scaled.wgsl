// out = a + scale · b, element by element: attention patching, A' = A + αM.
//
// Shapes: a, b, out of `count` items each: four neighbours, or single elements. One invocation owns one item of out.
// Dispatch: (min(ceil(count / 64), 32768), rest, 1).
{% if quads %}
alias Item = vec4<f32>;
{% else %}
alias Item = f32;
{% endif %}
struct Params { count: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Item>;
@group(0) @binding(2) var<storage, read> b: array<Item>;
@group(0) @binding(3) var<storage, read_write> out: array<Item>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * 2097152u + id.x;
    if (i < params.count) {
        out[i] = a[i] + params.scale * b[i];
    }
}
