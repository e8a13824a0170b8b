// GEMM with tiles staged through workgroup memory: for GPUs.
//
// A workgroup computes {{ bm }} × {{ bn }} outputs, an invocation {{ tm }} × {{ tn }} of them. Slabs of A and B, {{ bk }} deep, are
// fetched into registers while the slab before is multiplied, and laid k-major into workgroup memory in whole vec4s: of an
// operand that is contiguous along k an invocation takes a 4 × 4 block and transposes it. A slab's columns are permuted by an
// XOR that depends on k, so that neither those stores nor the loads meet in a bank.
// Where the outputs alone would leave a GPU idle, {{ groups }} groups of invocations share the tile, each for its part of every
// slab, and their sums are added in order at the end.
// 32 neighbours of a group own 8 × 4 quads of columns and rows: 8 addresses of B and 4 of A at each step of k.
// A barrier stands before a slab is overwritten and after it is written.
// Dispatch: (ceil(N / {{ bn }}), ceil(M / {{ bm }}), maps).
{% include "gemm_common" %}

{# Quads across a slab of A and of B, blocks of 4 × 4 in them, invocations across and down a tile. #}
{% set qa = bm // 4 %}
{% set qb = bn // 4 %}
{% set kq = bk // 4 %}
{% set blocks_a = qa * kq %}
{% set blocks_b = qb * kq %}
{% set gx = bn // tn %}
{% set gy = bm // tm %}
{% set lanes = gx * gy %}
{% set threads = lanes * groups %}
{% set rounds = (blocks_a + blocks_b + threads - 1) // threads %}
{% set whole = rounds * threads == blocks_a + blocks_b %}
{% set staged = bk * (qa + qb) %}
var<workgroup> slab: array<vec4<f32>, {{ staged }}>;

// How the columns of k's row of a slab are permuted; `quad` is k / 4.
fn swizzle(quad: u32) -> u32 {
    return {% if bk == 16 %}(quad << 1u){% else %}quad{% endif %} & 7u;
}

struct Place {
    a_base: u32,
    b_base: u32,
    row: u32,
    column: u32,
}

{# A block of an operand that is contiguous along k is 4 × 4; of one that lies k-major it is four quads a `stride` apart, so
   that neighbours take neighbouring quads. #}
{% for operand, q, stride, first, along_k in [("a", qa, blocks_a, 0, form != 2), ("b", qb, blocks_b, bk * qa, form == 1)] %}
// Four quads along the tile of {{ operand }}'s slab that begins at k0; 0 past the end of the inner extent, or what A's 0 meets.
fn fetch_{{ operand }}(base: u32, tile: u32, k0: u32, block: u32) -> mat4x4<f32> {
{% if along_k %}
    let k = k0 + block % {{ kq }}u * 4u;
    let at = tile + block / {{ kq }}u * 4u;
    if (k >= params.k) {
        return mat4x4<f32>();
    }
    return transpose(mat4x4<f32>({% for j in range(4) %}load_{{ operand }}(base, at + {{ j }}u, k),{% endfor %}));
{% else %}
    return mat4x4<f32>(
{% for j in range(4) %}
{% set linear = "(block + " ~ j * stride ~ "u)" %}
        load_{{ operand }}(base, k0 + {{ linear }} / {{ q }}u, tile + {{ linear }} % {{ q }}u * 4u),
{% endfor %}
    );
{% endif %}
}

// Lays them into workgroup memory.
fn lay_{{ operand }}(block: u32, quads: mat4x4<f32>) {
{% for j in range(4) %}
{% if along_k %}
    let k{{ j }} = block % {{ kq }}u * 4u + {{ j }}u;
    let quad{{ j }} = block / {{ kq }}u;
{% else %}
    let k{{ j }} = (block + {{ j * stride }}u) / {{ q }}u;
    let quad{{ j }} = (block + {{ j * stride }}u) % {{ q }}u;
{% endif %}
    slab[{{ first }}u + k{{ j }} * {{ q }}u + (quad{{ j }} ^ swizzle(k{{ j }} >> 2u))] = quads[{{ j }}];
{% endfor %}
}

{% endfor %}
// A slab's blocks: those of A, then those of B{% if not whole %}, then none{% endif %}.
fn fetch(place: Place, k0: u32, block: u32) -> mat4x4<f32> {
    if (block < {{ blocks_a }}u) {
        return fetch_a(place.a_base, place.row, k0, block);
    }
{% if not whole %}
    if (block >= {{ blocks_a + blocks_b }}u) {
        return mat4x4<f32>();
    }
{% endif %}
    return fetch_b(place.b_base, place.column, k0, block - {{ blocks_a }}u);
}

fn lay(block: u32, quads: mat4x4<f32>) {
    if (block < {{ blocks_a }}u) {
        lay_a(block, quads);
    } else{% if not whole %} if (block < {{ blocks_a + blocks_b }}u){% endif %} {
        lay_b(block - {{ blocks_a }}u, quads);
    }
}

@compute @workgroup_size({{ threads }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let batch = group.z / params.heads;
    let head = group.z % params.heads;
    let place = Place(
        params.a_offset + batch * params.a_batch + head * params.a_head,
        params.b_offset + batch * params.b_batch + head * params.b_head,
        group.y * {{ bm }}u,
        group.x * {{ bn }}u,
    );
    let c_base = params.c_offset + batch * params.c_batch + head * params.c_head;
    var k_begin = 0u;
    var k_end = params.k;
    if (params.causal == 1u && place.column > place.row + {{ bm - 1 }}u) {
        k_end = 0u;
    }
    if (params.causal == 2u) {
        k_end = min(k_end, place.row + {{ bm }}u);
    }
    if (params.causal == 3u) {
        // At a whole slab, whichever the tile: which sums belong together must not depend on where tiles begin.
        k_begin = place.row / {{ bk }}u * {{ bk }}u;
    }
    let part = index / {{ lanes }}u;
    let lane = index % {{ lanes }}u;
    let x = (lane >> 5u) % {{ gx // 8 }}u * 8u + (lane & 7u);
    let y = (lane >> 5u) / {{ gx // 8 }}u * 4u + ((lane >> 3u) & 3u);
{% for i in range(tm) %}
{% for q in range(tn // 4) %}
    var c{{ i }}_{{ q }} = vec4<f32>();
{% endfor %}
{% endfor %}

{% for r in range(rounds) %}
    var next{{ r }} = mat4x4<f32>();
{% endfor %}
    if (k_begin < k_end) {
{% for r in range(rounds) %}
        next{{ r }} = fetch(place, k_begin, index + {{ r * threads }}u);
{% endfor %}
    }
    for (var k0 = k_begin; k0 < k_end; k0 += {{ bk }}u) {
        workgroupBarrier();
{% for r in range(rounds) %}
        lay(index + {{ r * threads }}u, next{{ r }});
{% endfor %}
        workgroupBarrier();
        if (k0 + {{ bk }}u < k_end) {
{% for r in range(rounds) %}
            next{{ r }} = fetch(place, k0 + {{ bk }}u, index + {{ r * threads }}u);
{% endfor %}
        }
        for (var step = 0u; step < {{ kq // groups }}u; step++) {
            let quad = part * {{ kq // groups }}u + step;
            let mask = swizzle(quad);
{% for j in range(4) %}
            {
                let a_at = (quad * 4u + {{ j }}u) * {{ qa }}u;
                let b_at = {{ bk * qa }}u + (quad * 4u + {{ j }}u) * {{ qb }}u;
{% for p in range(tm // 4) %}
                let a{{ p }} = slab[a_at + ((y + {{ p * gy }}u) ^ mask)];
{% endfor %}
{% for q in range(tn // 4) %}
                let b{{ q }} = slab[b_at + ((x + {{ q * gx }}u) ^ mask)];
{% endfor %}
{% for i in range(tm) %}
{% for q in range(tn // 4) %}
                c{{ i }}_{{ q }} += a{{ i // 4 }}[{{ i % 4 }}] * b{{ q }};
{% endfor %}
{% endfor %}
            }
{% endfor %}
        }
    }
{% if groups > 1 %}

{# As many groups at a time hand over their sums as the slabs have room for. #}
{% set share = lanes * tm * tn // 4 %}
{% set room = staged // share %}
{% for first in range(1, groups, room) %}
{% set last = [first + room, groups] | min %}
    workgroupBarrier();
    if (part >= {{ first }}u && part < {{ last }}u) {
        let at = (part - {{ first }}u) * {{ share }}u + lane;
{% for i in range(tm) %}
{% for q in range(tn // 4) %}
        slab[at + {{ (i * (tn // 4) + q) * lanes }}u] = c{{ i }}_{{ q }};
{% endfor %}
{% endfor %}
    }
    workgroupBarrier();
    if (part == 0u) {
{% for g in range(first, last) %}
{% for i in range(tm) %}
{% for q in range(tn // 4) %}
        c{{ i }}_{{ q }} += slab[{{ (g - first) * share + (i * (tn // 4) + q) * lanes }}u + lane];
{% endfor %}
{% endfor %}
{% endfor %}
    }
{% endfor %}
    if (part > 0u) {
        return;
    }
{% endif %}
{% for i in range(tm) %}
{% for q in range(tn // 4) %}
    store_quad(c_base, place.row + (y + {{ i // 4 * gy }}u) * 4u + {{ i % 4 }}u, place.column + (x + {{ q * gx }}u) * 4u, c{{ i }}_{{ q }});
{% endfor %}
{% endfor %}
}

fn store_quad(base: u32, row: u32, column: u32, quad: vec4<f32>) {
{% if vec_c %}
    store(base, row, column, quad);
{% else %}
{% for j in range(4) %}
    store(base, row, column + {{ j }}u, quad[{{ j }}]);
{% endfor %}
{% endif %}
}
