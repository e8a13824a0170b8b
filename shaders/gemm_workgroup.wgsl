// GEMM with 64 × 64 tiles staged through workgroup memory, 4 × 4 outputs per invocation: for GPUs.
//
// 256 invocations load a 64 × 16 slab of A and a 16 × 64 slab of B, one vec4 each, along whichever index is
// contiguous, and store them k-major, so that in the inner loop A is a broadcast and B is free of bank conflicts.
// One invocation owns rows 4·y .. 4·y + 3 and columns x, x + 16, x + 32, x + 48 of the tile.
// A barrier stands before a slab is overwritten and after it is written.
// Dispatch: (ceil(N / 64), ceil(M / 64), maps).
{% include "gemm_common" %}

var<workgroup> slab_a: array<f32, 1024>;
var<workgroup> slab_b: array<f32, 1024>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let batch = group.z / params.heads;
    let head = group.z % params.heads;
    let a_base = params.a_offset + batch * params.a_batch + head * params.a_head;
    let b_base = params.b_offset + batch * params.b_batch + head * params.b_head;
    let c_base = params.c_offset + batch * params.c_batch + head * params.c_head;
    let tile_row = group.y * 64u;
    let tile_column = group.x * 64u;
    var k_begin = 0u;
    var k_end = params.k;
    if (params.causal == 1u && tile_column > tile_row + 63u) {
        k_end = 0u;
    }
    if (params.causal == 2u) {
        k_end = min(k_end, tile_row + 64u);
    }
    if (params.causal == 3u) {
        k_begin = tile_row;
    }
    let x = index & 15u;
    let y = index >> 4u;
{% for i in range(4) %}{% for j in range(4) %}    var c{{ i }}_{{ j }} = 0.0;
{% endfor %}{% endfor %}

    for (var k0 = k_begin; k0 < k_end; k0 += 16u) {
        workgroupBarrier();
{% if form == 2 %}
        {
            let k = k0 + (index >> 4u);
            let row = (index & 15u) * 4u;
            var v = vec4<f32>(0.0);
            if (k < params.k) {
                v = load_a(a_base, k, tile_row + row);
            }
            let at = (index >> 4u) * 64u + row;
            slab_a[at] = v.x; slab_a[at + 1u] = v.y; slab_a[at + 2u] = v.z; slab_a[at + 3u] = v.w;
        }
{% else %}
        {
            let k = k0 + (index & 3u) * 4u;
            let row = index >> 2u;
            var v = vec4<f32>(0.0);
            if (k < params.k) {
                v = load_a(a_base, tile_row + row, k);
            }
            let at = (index & 3u) * 256u + row;
            slab_a[at] = v.x; slab_a[at + 64u] = v.y; slab_a[at + 128u] = v.z; slab_a[at + 192u] = v.w;
        }
{% endif %}
{% if form == 1 %}
        {
            let k = k0 + (index & 3u) * 4u;
            let column = index >> 2u;
            var v = vec4<f32>(0.0);
            if (k < params.k) {
                v = load_b(b_base, tile_column + column, k);
            }
            let at = (index & 3u) * 256u + column;
            slab_b[at] = v.x; slab_b[at + 64u] = v.y; slab_b[at + 128u] = v.z; slab_b[at + 192u] = v.w;
        }
{% else %}
        {
            let k = k0 + (index >> 4u);
            let column = (index & 15u) * 4u;
            let v = load_b(b_base, k, tile_column + column);
            let at = (index >> 4u) * 64u + column;
            slab_b[at] = v.x; slab_b[at + 1u] = v.y; slab_b[at + 2u] = v.z; slab_b[at + 3u] = v.w;
        }
{% endif %}
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let at = k * 64u;
{% for i in range(4) %}
            let a{{ i }} = slab_a[at + 4u * y + {{ i }}u];
{% endfor %}
{% for j in range(4) %}
            let b{{ j }} = slab_b[at + x + {{ 16 * j }}u];
{% for i in range(4) %}
            c{{ i }}_{{ j }} += a{{ i }} * b{{ j }};
{% endfor %}
{% endfor %}
        }
    }
{% for i in range(4) %}{% for j in range(4) %}    store(c_base, tile_row + 4u * y + {{ i }}u, tile_column + x + {{ 16 * j }}u, c{{ i }}_{{ j }});
{% endfor %}{% endfor %}
}
