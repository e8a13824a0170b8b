// Sum and maximum over the `lanes` invocations of a workgroup, each result returned to all of them.
//
// Included by the row-wise kernels. A barrier stands between the read of the result and the next
// round's first write. On a software adapter `lanes` is one subgroup and the barriers cost nothing.
var<workgroup> partial: array<f32, {{ lanes }}>;

fn row_sum(value: f32, lane: u32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var stride = {{ lanes // 2 }}u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) {
            partial[lane] = partial[lane] + partial[lane + stride];
        }
        workgroupBarrier();
    }
    let total = partial[0];
    workgroupBarrier();
    return total;
}

fn row_max(value: f32, lane: u32) -> f32 {
    partial[lane] = value;
    workgroupBarrier();
    for (var stride = {{ lanes // 2 }}u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) {
            partial[lane] = max(partial[lane], partial[lane + stride]);
        }
        workgroupBarrier();
    }
    let largest = partial[0];
    workgroupBarrier();
    return largest;
}
