// Sums over rows that {{ parts }} invocations share, the rows dealt out in turn. Included by the kernels that add rows up.
//
// An `Item` is what one invocation loads at a time: {% if quads %}four neighbours{% else %}one element{% endif %}.
{% if quads %}
alias Item = vec4<f32>;
{% else %}
alias Item = f32;
{% endif %}
{% if parts > 1 %}
var<workgroup> shares: array<Item, {{ columns * parts }}>;

// The sum of all parts, in their order, for the first of them. A barrier stands before the shares are overwritten.
fn all_parts(share: Item, local: vec3<u32>) -> Item {
    workgroupBarrier();
    shares[local.y * {{ columns }}u + local.x] = share;
    workgroupBarrier();
    var total = share;
    if (local.y == 0u) {
        for (var part = 1u; part < {{ parts }}u; part++) {
            total += shares[part * {{ columns }}u + local.x];
        }
    }
    return total;
}
{% else %}
fn all_parts(share: Item, local: vec3<u32>) -> Item {
    return share;
}
{% endif %}
