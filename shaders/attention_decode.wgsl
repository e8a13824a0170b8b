// One new token against the cache: o_h = softmax(q_h·K_hᵀ/√d)·V_h over the positions 0 … position.
//
// The token's own k and v are taken from its row of the cache, written before this dispatch.
// Shapes: position [1], qkv [3D] of the new token, cache [capacity, 3D] of [q k v] rows, scores [heads, capacity]
// (scratch), o [D]. One workgroup of {{ lanes }} invocations owns head h: its scores and columns [h·d, (h + 1)·d) of o.
// Dispatch: (heads, 1, 1).
struct Params { heads: u32, head_columns: u32, capacity: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> position: array<u32>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read_write> cache: array<f32>;
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;
{% if masked %}
@group(0) @binding(5) var<storage, read> keep: array<u32>;
{% endif %}
@group(0) @binding(6) var<storage, read_write> o: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let head = group.x;
    let d = params.head_columns;
    let width = params.heads * d;
    let stride = 3u * width;
    let now = position[0];

    for (var c = lane; c < d; c += {{ lanes }}u) {
        let key = width + head * d + c;
        cache[now * stride + key] = qkv[key];
        cache[now * stride + key + width] = qkv[key + width];
    }
    storageBarrier();
    workgroupBarrier();

    var largest = -3.0e38;
    for (var t = lane; t <= now; t += {{ lanes }}u) {
        var dot = 0.0;
        for (var c = 0u; c < d; c++) {
            dot += qkv[head * d + c] * cache[t * stride + width + head * d + c];
        }
        let score = dot * params.scale;
        scores[head * params.capacity + t] = score;
        largest = max(largest, score);
    }
    largest = row_max(largest, lane);
    var total = 0.0;
    for (var t = lane; t <= now; t += {{ lanes }}u) {
        let e = exp(scores[head * params.capacity + t] - largest);
        scores[head * params.capacity + t] = e;
        total += e;
    }
    total = row_sum(total, lane);
    storageBarrier();
    workgroupBarrier();

    for (var c = lane; c < d; c += {{ lanes }}u) {
        var sum = 0.0;
        for (var t = 0u; t <= now; t++) {
            sum += scores[head * params.capacity + t] * cache[t * stride + 2u * width + head * d + c];
        }
{% if masked %}
        o[head * d + c] = select(0.0, sum / total, keep[head] != 0u);
{% else %}
        o[head * d + c] = sum / total;
{% endif %}
    }
}
