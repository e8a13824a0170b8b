// A'_bh = A_bh + α_b · M_h: attention patching, a factor for each sequence of the batch.
//
// Shapes: pattern, out [batch · H, T, T], map [H, T, T], alpha [batch]; `items` of map and `count` of pattern are four
// neighbours each, or single elements. One invocation owns one item of out.
// Dispatch: (min(ceil(count / 64), 32768), rest, 1).
{% if quads %}
alias Item = vec4<f32>;
{% else %}
alias Item = f32;
{% endif %}
struct Params { count: u32, items: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pattern: array<Item>;
@group(0) @binding(2) var<storage, read> map: array<Item>;
@group(0) @binding(3) var<storage, read> alpha: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<Item>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * 2097152u + id.x;
    if (i < params.count) {
        out[i] = pattern[i] + alpha[i / params.items] * map[i % params.items];
    }
}
