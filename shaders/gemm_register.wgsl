// GEMM with a register tile of {{ tm }} rows × {{ tn }} columns per invocation{% if subgroup %}; row operand handed round by subgroupBroadcast{% endif %}.
//
{% if subgroup %}
// `gemm subgroup`: all lanes of a subgroup need the same rows of A, so each lane loads its share of them once and
// broadcasts it. The fastest on lavapipe, where loads are scalarised and dominate.
{% else %}
// `gemm portable`: nothing but registers; runs everywhere.
{% endif %}
// One invocation owns its tile of C. Dispatch: (ceil(N / ({{ wx }}·{{ tn }})), ceil(M / {{ tm }}), maps).
// Accumulators are named scalars or vec4s, unrolled by the template: arrays would not stay in registers.
{% include "gemm_common" %}

{% set quads = tn // 4 %}
@compute @workgroup_size({{ wx }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>{% if subgroup %}, @builtin(subgroup_invocation_id) lane: u32{% endif %}) {
    let batch = group.z / params.heads;
    let head = group.z % params.heads;
    let a_base = params.a_offset + batch * params.a_batch + head * params.a_head;
    let b_base = params.b_offset + batch * params.b_batch + head * params.b_head;
    let c_base = params.c_offset + batch * params.c_batch + head * params.c_head;
    let row = group.y * {{ tm }}u;
    let tile_column = group.x * {{ wx * tn }}u;
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
{% if form == 1 %}
    let column = tile_column + local.x;
{% for i in range(tm) %}{% for j in range(tn) %}    var c{{ i }}_{{ j }} = 0.0;
{% endfor %}{% endfor %}
    for (var k = k_begin; k < k_end; k += 4u) {
{% if subgroup %}
{% for i in range(tm // subgroup) %}
        let v{{ i }} = load_a(a_base, row + {{ i * subgroup }}u + lane, k);
{% endfor %}
{% for i in range(tm) %}
        let a{{ i }} = subgroupBroadcast(v{{ i // subgroup }}, {{ i % subgroup }}u);
{% endfor %}
{% else %}
{% for i in range(tm) %}
        let a{{ i }} = load_a(a_base, row + {{ i }}u, k);
{% endfor %}
{% endif %}
{% for j in range(tn) %}
        let b{{ j }} = load_b(b_base, column + {{ j * wx }}u, k);
{% for i in range(tm) %}
        c{{ i }}_{{ j }} += a{{ i }}.x * b{{ j }}.x; c{{ i }}_{{ j }} += a{{ i }}.y * b{{ j }}.y; c{{ i }}_{{ j }} += a{{ i }}.z * b{{ j }}.z; c{{ i }}_{{ j }} += a{{ i }}.w * b{{ j }}.w;
{% endfor %}
{% endfor %}
    }
{% for i in range(tm) %}{% for j in range(tn) %}    store(c_base, row + {{ i }}u, column + {{ j * wx }}u, c{{ i }}_{{ j }});
{% endfor %}{% endfor %}
{% else %}
    let column = tile_column + local.x * {{ tn }}u;
{% for i in range(tm) %}{% for q in range(quads) %}    var c{{ i }}_{{ q }} = vec4<f32>(0.0);
{% endfor %}{% endfor %}
{% if form == 0 %}
    for (var k = k_begin; k < k_end; k += 4u) {
{% if subgroup %}
{% for i in range(tm // subgroup) %}
        let v{{ i }} = load_a(a_base, row + {{ i * subgroup }}u + lane, k);
{% endfor %}
{% for i in range(tm) %}
        let a{{ i }} = subgroupBroadcast(v{{ i // subgroup }}, {{ i % subgroup }}u);
{% endfor %}
{% else %}
{% for i in range(tm) %}
        let a{{ i }} = load_a(a_base, row + {{ i }}u, k);
{% endfor %}
{% endif %}
{% for step in ["x", "y", "z", "w"] %}
{% for q in range(quads) %}
        let b{{ step }}_{{ q }} = load_b(b_base, k + {{ {"x": 0, "y": 1, "z": 2, "w": 3}[step] }}u, column + {{ 4 * q }}u);
{% for i in range(tm) %}
        c{{ i }}_{{ q }} += a{{ i }}.{{ step }} * b{{ step }}_{{ q }};
{% endfor %}
{% endfor %}
{% endfor %}
    }
{% else %}
    for (var k = k_begin; k < k_end; k++) {
{% if subgroup %}
{% for i in range((tm // 4 + subgroup - 1) // subgroup) %}
        let v{{ i }} = load_a(a_base, k, row + 4u * ({{ i * subgroup }}u + lane));
{% endfor %}
{% for i in range(tm // 4) %}
        let a{{ i }} = subgroupBroadcast(v{{ i // subgroup }}, {{ i % subgroup }}u);
{% endfor %}
{% else %}
{% for i in range(tm // 4) %}
        let a{{ i }} = load_a(a_base, k, row + {{ 4 * i }}u);
{% endfor %}
{% endif %}
{% for q in range(quads) %}
        let b{{ q }} = load_b(b_base, k, column + {{ 4 * q }}u);
{% for i in range(tm) %}
        c{{ i }}_{{ q }} += a{{ i // 4 }}.{{ ["x", "y", "z", "w"][i % 4] }} * b{{ q }};
{% endfor %}
{% endfor %}
    }
{% endif %}
{% for i in range(tm) %}{% for q in range(quads) %}
{% if vec_c %}
    store(c_base, row + {{ i }}u, column + {{ 4 * q }}u, c{{ i }}_{{ q }});
{% else %}
{% for step in ["x", "y", "z", "w"] %}
    store(c_base, row + {{ i }}u, column + {{ 4 * q + {"x": 0, "y": 1, "z": 2, "w": 3}[step] }}u, c{{ i }}_{{ q }}.{{ step }});
{% endfor %}
{% endif %}
{% endfor %}{% endfor %}
{% endif %}
}
