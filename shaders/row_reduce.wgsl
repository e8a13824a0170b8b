// Sum and maximum over the `lanes` invocations that share a row, each result returned to all of them.
//
// Included by the row-wise kernels. An `Item` is what one invocation loads at a time: {% if quads %}four neighbours{% else %}one element{% endif %}.
{% if subgroup %}
// A row belongs to one subgroup here: no barriers, which cost software drivers more than the sums themselves.
{% else %}
// A barrier stands between the read of the result and the next round's first write.
{% endif %}
{% if quads %}
alias Item = vec4<f32>;
fn sum_of(item: Item) -> f32 {
    return (item.x + item.y) + (item.z + item.w);
}
fn largest_of(item: Item) -> f32 {
    return max(max(item.x, item.y), max(item.z, item.w));
}
{% else %}
alias Item = f32;
fn sum_of(item: Item) -> f32 {
    return item;
}
fn largest_of(item: Item) -> f32 {
    return item;
}
{% endif %}
{% if subgroup %}
fn row_sum(value: f32, lane: u32) -> f32 {
    return subgroupAdd(value);
}

fn row_max(value: f32, lane: u32) -> f32 {
    return subgroupMax(value);
}
{% else %}
var<workgroup> shares: array<f32, {{ lanes }}>;

fn row_sum(value: f32, lane: u32) -> f32 {
    shares[lane] = value;
    workgroupBarrier();
    for (var stride = {{ lanes // 2 }}u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) {
            shares[lane] = shares[lane] + shares[lane + stride];
        }
        workgroupBarrier();
    }
    let total = shares[0];
    workgroupBarrier();
    return total;
}

fn row_max(value: f32, lane: u32) -> f32 {
    shares[lane] = value;
    workgroupBarrier();
    for (var stride = {{ lanes // 2 }}u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) {
            shares[lane] = max(shares[lane], shares[lane + stride]);
        }
        workgroupBarrier();
    }
    let largest = shares[0];
    workgroupBarrier();
    return largest;
}
{% endif %}
