// δ = (softmax(logits) − onehot(target))·scale for one range of the vocabulary; row loss = lse − logit(target)
//
// Shapes: logits [rows, count] of the tokens [first, first + count), targets [rows],
// stats [rows, ranges, 2] from cross_entropy_stats, target_logit [rows], delta [rows, count], row_loss [rows]
// (written with range 0). The target's δ is −Σ of the others in exact arithmetic; p − 1 is taken as is.
// {{ lanes }} invocations own a row. Dispatch: (min(groups, 32768), ceil(groups / 32768), 1), {{ rows }} rows to a group.
struct Params { rows: u32, first: u32, count: u32, ranges: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<{% if quads %}vec4<f32>{% else %}f32{% endif %}>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read> target_logit: array<f32>;
@group(0) @binding(5) var<storage, read_write> delta: array<{% if quads %}vec4<f32>{% else %}f32{% endif %}>;
@group(0) @binding(6) var<storage, read_write> row_loss: array<f32>;

@compute @workgroup_size({{ lanes }}, {{ rows }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let wanted = (group.y * 32768u + group.x) * {{ rows }}u + local.y;
    // Surplus rows of the last workgroup have no items: no divergent return before a reduction.
    let surplus = wanted >= params.rows;
    let row = min(wanted, params.rows - 1u);
    let row_items = params.count / {{ 4 if quads else 1 }}u;
    let items = select(row_items, 0u, surplus);
    let start = row * row_items;
    var largest = stats[2u * row * params.ranges];
    for (var r = 1u; r < params.ranges; r++) {
        largest = max(largest, stats[2u * (row * params.ranges + r)]);
    }
    var total = 0.0;
    for (var r = 0u; r < params.ranges; r++) {
        let at = 2u * (row * params.ranges + r);
        total += stats[at + 1u] * exp(stats[at] - largest);
    }
    // Outside this range where the target is in another: then no column equals it.
    let target_column = targets[row] - params.first;
    for (var j = lane; j < items; j += {{ lanes }}u) {
        let p = exp(logits[start + j] - largest) / total;
{% if quads %}
        let onehot = select(vec4<f32>(0.0), vec4<f32>(1.0), 4u * j + vec4<u32>(0u, 1u, 2u, 3u) == vec4<u32>(target_column));
{% else %}
        let onehot = select(0.0, 1.0, j == target_column);
{% endif %}
        delta[start + j] = (p - onehot) * params.scale;
    }
    if (lane == 0u && !surplus && params.first == 0u) {
        row_loss[row] = (largest - target_logit[row]) + log(total);
    }
}
