// What is read of the logits of one range of the vocabulary, row by row, in one look at each logit:
{% if statistics %}
//   m = max(logits),  s = Σ exp(logit − m),  h = Σ exp(logit − m)·(logit − m)
{% endif %}
{% if tokens %}
//   larger[g] = how many logits exceed given[g], the logit of token wanted[g], that token's own left out
{% endif %}
{% if k %}
//   the {{ k }} largest logits (half 0) and the {{ k }} smallest (half 1) with their tokens, equals by ascending token{% if after %};
//   only what comes after slot `at` − 1 in that order{% endif %}

{% endif %}
//
// Shapes: logits [rows, count] of the tokens [first, first + count), given [rows, wanted], wanted [wanted],
// stats [rows, pieces, 3] = (m, s, h), larger [rows, pieces, wanted], values and ids [rows, pieces, 2, slots], of which
// piece `piece` and the slots from `at` on, the tokens from `token` on are written. Where a range has fewer tokens than
// slots, ids are 2²⁴ − 1.
// s and h are taken relative to a logit that lags behind the maximum: where that rises by more than 8 above it,
// e^(old − new) scales them. In a row that ascends, a rounding for each new maximum would add up.
// {{ lanes }} invocations own a row. Dispatch: (min(groups, 32768), ceil(groups / 32768), 1), {{ rows }} rows to a group.
struct Params {
    rows: u32, first: u32, count: u32, piece: u32,
    pieces: u32, slots: u32, at: u32, wanted: u32, token: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<Item>;
{% if statistics %}
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;
{% endif %}
{% if tokens %}
@group(0) @binding(3) var<storage, read> given: array<f32>;
@group(0) @binding(4) var<storage, read> wanted: array<u32>;
@group(0) @binding(5) var<storage, read_write> larger: array<u32>;
{% endif %}
{% if k %}
@group(0) @binding(6) var<storage, read_write> values: array<f32>;
@group(0) @binding(7) var<storage, read_write> ids: array<u32>;
{% endif %}

{% include "row_reduce" %}

// Beyond every logit, and behind every column. Columns and counts are exact in f32 up to there.
const BEYOND = 3.4028234e38f;
const NO_COLUMN = 16777215u;

fn logit_at(start: u32, column: u32) -> f32 {
{% if quads %}
    return logits[start + (column >> 2u)][column & 3u];
{% else %}
    return logits[start + column];
{% endif %}
}

{% if quads %}
alias Counts = vec4<u32>;
fn is_larger(item: Item, than: f32) -> Counts {
    return select(Counts(0u), Counts(1u), item > Item(than));
}
fn count_of(counts: Counts) -> u32 {
    return (counts.x + counts.y) + (counts.z + counts.w);
}
{% else %}
alias Counts = u32;
fn is_larger(item: Item, than: f32) -> Counts {
    return select(0u, 1u, item > than);
}
fn count_of(counts: Counts) -> u32 {
    return counts;
}
{% endif %}

{% if k %}
// The first of the columns that the lanes of a row offer.
fn row_first(column: u32, lane: u32) -> u32 {
    return u32(-row_max(-f32(column), lane));
}
{% endif %}

@compute @workgroup_size({{ lanes }}, {{ rows }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    let asked = (group.y * 32768u + group.x) * {{ rows }}u + local.y;
    // Surplus rows of the last workgroup have no items: no divergent return before a reduction.
    let surplus = asked >= params.rows;
    let row = min(asked, params.rows - 1u);
    let row_items = params.count / {{ 4 if quads else 1 }}u;
    let items = select(row_items, 0u, surplus);
    let start = row * row_items;
    let owner = lane == 0u && !surplus;
{% if statistics %}
    var m = largest_of(logits[start]);
    var top = m;
    var s = Item();
    var h = Item();
{% endif %}
{% for g in range(tokens) %}
    let given{{ g }} = given[row * params.wanted + params.token + {{ g }}u];
    var larger{{ g }} = Counts();
{% endfor %}
{% if k %}
    // This lane's share: its {{ k }} largest and, negated, its {{ k }} smallest, each in order.
{% for half in range(2) %}
{% for i in range(k) %}
    var v{{ half }}_{{ i }} = -BEYOND;
    var c{{ half }}_{{ i }} = NO_COLUMN;
{% endfor %}
{% endfor %}
{% endif %}
{% if after %}
{% for half in range(2) %}
    let before{{ half }} = ((row * params.pieces + params.piece) * 2u + {{ half }}u) * params.slots + params.at - 1u;
    let bound{{ half }} = {{ "-" if half else "" }}values[before{{ half }}];
    let bound_id{{ half }} = ids[before{{ half }}];
{% endfor %}
{% endif %}

    for (var j = lane; j < items; j += {{ lanes }}u) {
        let item = logits[start + j];
{% if statistics %}
        let highest = largest_of(item);
        top = max(top, highest);
        if (highest > m + 8.0) {
            let shrink = exp(m - highest);
            h = (h + s * (m - highest)) * shrink;
            s = s * shrink;
            m = highest;
        }
        let below = item - m;
        let weight = exp(below);
        s += weight;
        h += weight * below;
{% endif %}
{% for g in range(tokens) %}
        larger{{ g }} += is_larger(item, given{{ g }});
{% endfor %}
{% if k %}
{% for half in range(2) %}
        if (largest_of({{ "-" if half else "" }}item) > v{{ half }}_{{ k - 1 }}) {
            for (var c = 0u; c < {{ 4 if quads else 1 }}u; c++) {
{% if quads %}
                var v = {{ "-" if half else "" }}item[c];
                let column = 4u * j + c;
{% else %}
                var v = {{ "-" if half else "" }}item;
                let column = j;
{% endif %}
{% if after %}
                let next = v < bound{{ half }} || (v == bound{{ half }} && params.first + column > bound_id{{ half }});
                v = select(-BEYOND, v, next);
{% endif %}
{% for i in range(k - 1, 0, -1) %}
                c{{ half }}_{{ i }} = select(select(c{{ half }}_{{ i }}, column, v > v{{ half }}_{{ i }}), c{{ half }}_{{ i - 1 }}, v > v{{ half }}_{{ i - 1 }});
                v{{ half }}_{{ i }} = select(max(v{{ half }}_{{ i }}, v), v{{ half }}_{{ i - 1 }}, v > v{{ half }}_{{ i - 1 }});
{% endfor %}
                c{{ half }}_0 = select(c{{ half }}_0, column, v > v{{ half }}_0);
                v{{ half }}_0 = max(v{{ half }}_0, v);
            }
        }
{% endfor %}
{% endif %}
    }

{% if statistics %}
    let highest = row_max(top, lane);
    let shrink = exp(m - highest);
    let h_all = row_sum(sum_of(h + s * (m - highest)) * shrink, lane);
    let s_all = row_sum(sum_of(s) * shrink, lane);
    if (owner) {
        let at = 3u * (row * params.pieces + params.piece);
        stats[at] = highest;
        stats[at + 1u] = s_all;
        stats[at + 2u] = h_all;
    }
{% endif %}
{% for g in range(tokens) %}
    let count{{ g }} = u32(row_sum(f32(count_of(larger{{ g }})), lane));
    if (owner) {
        // The token's own logit may differ from the given one by a rounding; it is not larger than itself.
        let token = wanted[params.token + {{ g }}u];
        let column = token - params.first;
        let here = token >= params.first && column < params.count;
        let own = here && logit_at(start, min(column, params.count - 1u)) > given{{ g }};
        larger[(row * params.pieces + params.piece) * params.wanted + params.token + {{ g }}u] = count{{ g }} - u32(own);
    }
{% endfor %}
{% if k %}
    // The best of all lanes, {{ k }} times; the lane that had it steps to its next.
    for (var slot = 0u; slot < {{ k }}u; slot++) {
{% for half in range(2) %}
        let best{{ half }} = row_max(v{{ half }}_0, lane);
        let column{{ half }} = row_first(select(NO_COLUMN, c{{ half }}_0, v{{ half }}_0 == best{{ half }}), lane);
        if (owner) {
            let at = ((row * params.pieces + params.piece) * 2u + {{ half }}u) * params.slots + params.at + slot;
            values[at] = {{ "-" if half else "" }}best{{ half }};
            ids[at] = select(params.first + column{{ half }}, NO_COLUMN, column{{ half }} == NO_COLUMN);
        }
        if (c{{ half }}_0 == column{{ half }}) {
{% for i in range(k - 1) %}
            v{{ half }}_{{ i }} = v{{ half }}_{{ i + 1 }};
            c{{ half }}_{{ i }} = c{{ half }}_{{ i + 1 }};
{% endfor %}
            v{{ half }}_{{ k - 1 }} = -BEYOND;
            c{{ half }}_{{ k - 1 }} = NO_COLUMN;
        }
{% endfor %}
    }
{% endif %}
}
