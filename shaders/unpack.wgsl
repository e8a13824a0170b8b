// out[r] = image[first_row + r]: a matrix from an image back into a buffer; the opposite of `pack`.
//
// Shapes: image as in `pack`, out [rows, columns]. One invocation owns one element of out.
// Dispatch: (ceil(columns / 64), rows, 1).
struct Params { rows: u32, columns: u32, first_row: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var image: texture_storage_2d_array<{% if f16 %}rgba16float{% else %}rgba32float{% endif %}, read>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y + id.z * 32768u;
    if (column >= params.columns || row >= params.rows) {
        return;
    }
{% if rows %}
    let texel = textureLoad(image, vec2<u32>(column >> 2u, params.first_row + row), 0u);
{% else %}
    let texel = textureLoad(image, vec2<u32>((column >> 2u) & 15u, params.first_row + row), column >> 6u);
{% endif %}
    out[row * params.columns + column] = texel[column & 3u];
}
