// GEMM with a register tile of {{ tm }} rows × {{ tn }} columns per invocation{% if subgroup %}; row operand handed round by subgroupBroadcast{% endif %}.
//
{% if subgroup %}
// `gemm subgroup`: all lanes of a subgroup need the same rows of A, so each lane loads its share of them once and
// broadcasts it. The fastest on lavapipe, where loads are scalarised and dominate.
{% else %}
// `gemm portable`: nothing but registers; runs everywhere.
{% endif %}
// One invocation owns its tile of C. Dispatch: (ceil(M / {{ tm }}), ceil(N / ({{ wx }}·{{ tn }})), maps):
// rows first, so that the columns of B that one row of tiles read are still in the cache for the next.
// Accumulators are named scalars or vec4s, unrolled by the template: arrays would not stay in registers.
{% include "gemm_common" %}

{% set quads = tn // 4 %}
{% set together = [[subgroup // ([tm // 4, 1] | max), 1] | max, 4] | min %}
{% set outputs = tn if form == 1 else quads %}
{% set zero = "0.0" if form == 1 else "vec4<f32>(0.0)" %}
@compute @workgroup_size({{ wx }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>{% if subgroup %}, @builtin(subgroup_invocation_id) lane: u32{% endif %}) {
    let batch = group.z / params.heads;
    let head = group.z % params.heads;
    let a_base = params.a_offset + batch * params.a_batch + head * params.a_head;
    let b_base = params.b_offset + batch * params.b_batch + head * params.b_head;
    let c_base = params.c_offset + batch * params.c_batch + head * params.c_head;
    let row = group.x * {{ tm }}u;
    let tile_column = group.y * {{ wx * tn }}u;
    var k_begin = 0u;
    var k_end = params.k;
    if (params.causal == 1u && tile_column > row + {{ tm - 1 }}u) {
        k_end = 0u;
    }
    if (params.causal == 2u) {
        k_end = min(k_end, row + {{ tm }}u);
    }
    if (params.causal == 3u) {
        k_begin = row;
    }
    let column = tile_column + local.x * {{ tn }}u;
{% for i in range(tm) %}
{% for j in range(outputs) %}
    var c{{ i }}_{{ j }} = {{ zero }};
{% endfor %}
{% endfor %}
{# Drivers that compile for masked lanes blend every accumulator once per iteration: more work in one costs less. #}
    for (var k_step = k_begin; k_step < k_end; k_step += {{ 4 * unroll }}u) {
{% for u in range(unroll) %}
    {
        let k = k_step + {{ 4 * u }}u;
{% if form == 2 %}
{# A quad holds 4 rows at one k. A subgroup wider than the tile's quads loads those of `together` values of k at once. #}
{% if subgroup %}
{% for s in range(0, 4, together) %}
{% for i in range((tm // 4 + subgroup - 1) // subgroup) %}
        let v{{ s }}_{{ i }} = load_a(a_base, k + {{ s }}u + lane / {{ tm // 4 }}u, row + 4u * ({{ i * subgroup }}u + lane % {{ tm // 4 }}u));
{% endfor %}
{% endfor %}
{% endif %}
{% for s in range(4) %}
{% for i in range((tm + 3) // 4) %}
{% if subgroup %}
        let a{{ s }}_{{ i }} = subgroupBroadcast(v{{ s // together * together }}_{{ i // subgroup }}, {{ (s % together) * (tm // 4) + i % subgroup }}u);
{% else %}
        let a{{ s }}_{{ i }} = load_a(a_base, k + {{ s }}u, row + {{ 4 * i }}u);
{% endif %}
{% endfor %}
{% endfor %}
{% else %}
{# A quad holds one row at 4 values of k. #}
{% if subgroup %}
{% for i in range((tm + subgroup - 1) // subgroup) %}
        let v{{ i }} = load_a(a_base, row + {{ i * subgroup }}u + lane, k);
{% endfor %}
{% endif %}
{% endif %}
{% if form == 1 %}
{% for j in range(tn) %}
        let b{{ j }} = load_b(b_base, column + {{ j }}u, k);
{% endfor %}
{% else %}
{% for s in range(4) %}
{% for q in range(quads) %}
        let b{{ s }}_{{ q }} = load_b(b_base, k + {{ s }}u, column + {{ 4 * q }}u);
{% endfor %}
{% endfor %}
{% endif %}
{% for i in range(tm) %}
{% if form == 2 %}
{% set a = [["a0_", i // 4, ".", "xyzw"[i % 4]] | join, ["a1_", i // 4, ".", "xyzw"[i % 4]] | join, ["a2_", i // 4, ".", "xyzw"[i % 4]] | join, ["a3_", i // 4, ".", "xyzw"[i % 4]] | join] %}
{% else %}
{% if subgroup %}
        let a{{ i }} = subgroupBroadcast(v{{ i // subgroup }}, {{ i % subgroup }}u);
{% else %}
        let a{{ i }} = load_a(a_base, row + {{ i }}u, k);
{% endif %}
{% set a = [["a", i, ".x"] | join, ["a", i, ".y"] | join, ["a", i, ".z"] | join, ["a", i, ".w"] | join] %}
{% endif %}
{% if form == 1 %}
{% for j in range(tn) %}
        c{{ i }}_{{ j }} += {{ a[0] }} * b{{ j }}.x; c{{ i }}_{{ j }} += {{ a[1] }} * b{{ j }}.y; c{{ i }}_{{ j }} += {{ a[2] }} * b{{ j }}.z; c{{ i }}_{{ j }} += {{ a[3] }} * b{{ j }}.w;
{% endfor %}
{% else %}
{% for q in range(quads) %}
        c{{ i }}_{{ q }} += {{ a[0] }} * b0_{{ q }}; c{{ i }}_{{ q }} += {{ a[1] }} * b1_{{ q }}; c{{ i }}_{{ q }} += {{ a[2] }} * b2_{{ q }}; c{{ i }}_{{ q }} += {{ a[3] }} * b3_{{ q }};
{% endfor %}
{% endif %}
{% endfor %}
    }
{% endfor %}
    }

    // The epilogue in a loop: unrolled it would be most of the kernel's compile time. The array is written once.
    var tile: array<vec4<f32>, {{ tm * quads }}>;
{% for i in range(tm) %}
{% for q in range(quads) %}
{% if form == 1 %}
    tile[{{ i * quads + q }}] = vec4<f32>(c{{ i }}_{{ 4 * q }}, c{{ i }}_{{ 4 * q + 1 }}, c{{ i }}_{{ 4 * q + 2 }}, c{{ i }}_{{ 4 * q + 3 }});
{% else %}
    tile[{{ i * quads + q }}] = c{{ i }}_{{ q }};
{% endif %}
{% endfor %}
{% endfor %}
{% if tm == 1 %}
    {
        let i = 0u;
{% else %}
    for (var i = 0u; i < {{ tm }}u; i++) {
{% endif %}
{% for q in range(quads) %}
        let v{{ q }} = tile[i * {{ quads }}u + {{ q }}u];
{% if vec_c %}
        store(c_base, row + i, column + {{ 4 * q }}u, v{{ q }});
{% else %}
{% for s in range(4) %}
        store(c_base, row + i, column + {{ 4 * q + s }}u, v{{ q }}.{{ "xyzw"[s] }});
{% endfor %}
{% endif %}
{% endfor %}
    }
}
