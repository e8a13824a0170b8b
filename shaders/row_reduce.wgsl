// Sum and maximum over the `lanes` invocations of a workgroup, each result returned to all of them.
//
// Included by the row-wise kernels. A barrier stands between the read of the result and the next
// round's first write. On a software adapter `lanes` is one subgroup and the barriers cost nothing.
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
