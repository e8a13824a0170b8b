// out = x with the columns of some heads set to 0: o·Wo with those rows of Wo counted as 0.
//
// Shapes: x [rows, D], keep [heads] (1 or 0), out [rows, D]; head h owns columns [h·d, (h + 1)·d).
// One invocation owns one element of out. Dispatch: (ceil(D / 64), rows, 1).
struct Params { rows: u32, columns: u32, head_columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> keep: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y + id.z * 32768u;
    if (column >= params.columns || row >= params.rows) {
        return;
    }
    let i = row * params.columns + column;
    out[i] = select(0.0, x[i], keep[column / params.head_columns] != 0u);
}
