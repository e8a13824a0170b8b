// out = x with the columns of some heads replaced{% if filled %} by those of a vector{% else %} by 0: o·Wo with those rows of Wo counted as 0{% endif %}.
//
// Shapes: x [batch · context, D], replaced [batch, heads] (1 or 0){% if filled %}, fill [batch, D]{% endif %}, out [batch · context, D]; head h owns
// columns [h·d, (h + 1)·d). Positions before first_position stay as they are.
// One invocation owns one element of out. Dispatch: (ceil(D / 64), rows, 1), from 32,768 rows on in z too.
struct Params { rows: u32, columns: u32, head_columns: u32, context: u32, first_position: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> replaced: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
{% if filled %}
@group(0) @binding(4) var<storage, read> fill: array<f32>;
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y + id.z * 32768u;
    if (column >= params.columns || row >= params.rows) {
        return;
    }
    let i = row * params.columns + column;
    let sequence = row / params.context;
    let head = sequence * (params.columns / params.head_columns) + column / params.head_columns;
    var value = x[i];
    if (replaced[head] != 0u && row % params.context >= params.first_position) {
        value = {% if filled %}fill[sequence * params.columns + column]{% else %}0.0{% endif %};
    }
    out[i] = value;
}
