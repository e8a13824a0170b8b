// norm = √(Σ partials),  clip = min(1, max_norm / (norm + 1e-6))  (clip = 1 where max_norm is 0: no clipping)
//
// The 1e-6 is that of torch.nn.utils.clip_grad_norm_. Shapes: partials [count] from square_sum,
// hyper [8] (element 7 holds max_norm), norm [2] = (norm, clip). One workgroup. Dispatch: (1, 1, 1).
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;

{% include "row_reduce" %}

@compute @workgroup_size({{ lanes }})
fn main(@builtin(local_invocation_id) local: vec3<u32>) {
    let lane = local.x;
    var total = 0.0;
    for (var i = lane; i < params.count; i += {{ lanes }}u) {
        total += partials[i];
    }
    total = sqrt(row_sum(total, lane));
    if (lane == 0u) {
        let max_norm = hyper[7];
        norm[0] = total;
        norm[1] = select(1.0, min(1.0, max_norm / (total + 1e-6)), max_norm > 0.0);
    }
}
