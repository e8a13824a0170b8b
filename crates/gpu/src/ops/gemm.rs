//! Matrix products in NN, NT and TN form with fused epilogues. Kernels: `shaders/gemm_register.wgsl`
//! (portable, subgroup and image variants), `shaders/gemm_workgroup.wgsl`; shared parts and the formula in
//! `shaders/gemm_common.wgsl`.

use super::gemm_tile::{FEW_ROWS, RegisterTile, WorkgroupTile};
use super::{Matrix, Pack, expect, pack};
use crate::image::ImageLayout;
use crate::kernel::Kernel;
use crate::{AdapterDescription, Capabilities, Dtype, GpuError, Recorder, Tensor};
use std::fmt;
use std::str::FromStr;

/// Which operands are read transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `C = A·B`, A `[M, K]`, B `[K, N]`.
    NN,
    /// `C = A·Bᵀ`, A `[M, K]`, B `[N, K]`.
    NT,
    /// `C = Aᵀ·B`, A `[K, M]`, B `[K, N]`.
    TN,
}

/// How a GEMM is computed; every variant gives the same result up to rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GemmVariant {
    /// Register tiles alone: runs everywhere.
    Portable,
    /// Register tiles, the row operand handed round by subgroup broadcast: fastest on lavapipe.
    Subgroup,
    /// Tiles staged through workgroup memory: for GPUs.
    Workgroup,
    /// As `Subgroup`, the operands read as images ([`Gpu::allocate_operand`](crate::Gpu::allocate_operand)); what is no
    /// image yet is packed first. Fastest on lavapipe.
    Image,
}

impl GemmVariant {
    /// Every variant.
    pub const ALL: [GemmVariant; 4] =
        [GemmVariant::Portable, GemmVariant::Subgroup, GemmVariant::Workgroup, GemmVariant::Image];

    /// The best variant known for an adapter.
    pub(crate) fn best_for(adapter: &AdapterDescription, capabilities: &Capabilities) -> Self {
        match (adapter.is_software(), capabilities.subgroup) {
            (false, _) => GemmVariant::Workgroup,
            (true, Some(_)) if adapter.driver.contains("llvmpipe") => GemmVariant::Image,
            (true, Some(_)) => GemmVariant::Subgroup,
            (true, None) => GemmVariant::Portable,
        }
    }
}

impl fmt::Display for GemmVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GemmVariant::Portable => "portable",
            GemmVariant::Subgroup => "subgroup",
            GemmVariant::Workgroup => "workgroup",
            GemmVariant::Image => "image",
        })
    }
}

impl FromStr for GemmVariant {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        GemmVariant::ALL.into_iter().find(|variant| variant.to_string() == name).ok_or_else(|| {
            format!("'{name}' is not a GEMM variant; choose from portable, subgroup, workgroup, image")
        })
    }
}

/// What is known to be zero of a T×T operand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Causal {
    /// Nothing.
    #[default]
    None,
    /// Only C's lower triangle is wanted; tiles wholly above the diagonal are written as 0.
    LowerC,
    /// A (NN form) is lower-triangular.
    LowerA,
    /// A (TN form, read transposed) is lower-triangular.
    LowerTransposedA,
}

/// A product and its epilogue; the parts apply in the order of the fields.
#[derive(Clone, Copy, Debug)]
pub struct Gemm<'a> {
    /// Which operands are read transposed.
    pub form: Form,
    /// f32.
    pub a: Matrix<'a>,
    /// f32 or f16 (NN and NT forms).
    pub b: Matrix<'a>,
    /// f32: result, `[M, N]`.
    pub c: Matrix<'a>,
    /// Maps: batch entries × heads.
    pub maps: (usize, usize),
    /// What is known to be zero.
    pub causal: Causal,
    /// Factor of the product.
    pub alpha: f32,
    /// `[N]`: added to every row.
    pub bias: Option<&'a Tensor>,
    /// Of C's shape: receives the value so far; C gets its gelu_new.
    pub gelu: Option<&'a Tensor>,
    /// Of C's shape: f, whose gelu_new'(f) multiplies the value.
    pub gelu_backward: Option<&'a Tensor>,
    /// Of C's shape: added.
    pub residual: Option<&'a Tensor>,
    /// Adds to C instead of overwriting it.
    pub accumulate: bool,
}

impl<'a> Gemm<'a> {
    fn new(form: Form, a: Matrix<'a>, b: Matrix<'a>, c: Matrix<'a>) -> Self {
        Gemm {
            form,
            a,
            b,
            c,
            maps: (1, 1),
            causal: Causal::None,
            alpha: 1.0,
            bias: None,
            gelu: None,
            gelu_backward: None,
            residual: None,
            accumulate: false,
        }
    }

    /// `C = A·B`.
    pub fn nn(a: impl Into<Matrix<'a>>, b: impl Into<Matrix<'a>>, c: impl Into<Matrix<'a>>) -> Self {
        Gemm::new(Form::NN, a.into(), b.into(), c.into())
    }

    /// `C = A·Bᵀ`.
    pub fn nt(a: impl Into<Matrix<'a>>, b: impl Into<Matrix<'a>>, c: impl Into<Matrix<'a>>) -> Self {
        Gemm::new(Form::NT, a.into(), b.into(), c.into())
    }

    /// `C = Aᵀ·B`.
    pub fn tn(a: impl Into<Matrix<'a>>, b: impl Into<Matrix<'a>>, c: impl Into<Matrix<'a>>) -> Self {
        Gemm::new(Form::TN, a.into(), b.into(), c.into())
    }

    /// One product per (batch entry, head).
    pub fn maps(self, batches: usize, heads: usize) -> Self {
        Gemm { maps: (batches, heads), ..self }
    }

    /// States what is known to be zero.
    pub fn causal(self, causal: Causal) -> Self {
        Gemm { causal, ..self }
    }

    /// Factor of the product.
    pub fn alpha(self, alpha: f32) -> Self {
        Gemm { alpha, ..self }
    }

    /// Adds a bias `[N]` to every row.
    pub fn bias(self, bias: &'a Tensor) -> Self {
        Gemm { bias: Some(bias), ..self }
    }

    /// Stores the value in `pre_activation` and its gelu_new in C.
    pub fn gelu(self, pre_activation: &'a Tensor) -> Self {
        Gemm { gelu: Some(pre_activation), ..self }
    }

    /// Multiplies by gelu_new'(pre_activation).
    pub fn gelu_backward(self, pre_activation: &'a Tensor) -> Self {
        Gemm { gelu_backward: Some(pre_activation), ..self }
    }

    /// Adds a tensor of C's shape.
    pub fn residual(self, residual: &'a Tensor) -> Self {
        Gemm { residual: Some(residual), ..self }
    }

    /// Adds to C when `accumulate`.
    pub fn accumulate(self, accumulate: bool) -> Self {
        Gemm { accumulate, ..self }
    }
}

/// Records a product.
pub fn gemm(recorder: &mut Recorder, op: Gemm<'_>) -> Result<(), GpuError> {
    const OP: &str = "gemm";
    let (m, k) = match op.form {
        Form::TN => (op.a.columns, op.a.rows),
        Form::NN | Form::NT => (op.a.rows, op.a.columns),
    };
    let (k_of_b, n) = match op.form {
        Form::NT => (op.b.columns, op.b.rows),
        Form::NN | Form::TN => (op.b.rows, op.b.columns),
    };
    let wrong = |operand, matrix: &Matrix<'_>, expected| GpuError::Shape {
        op: OP,
        operand,
        found: [matrix.rows, matrix.columns].into(),
        expected,
    };
    if k != k_of_b {
        return Err(wrong("b", &op.b, format!("an inner extent of {k}")));
    }
    if (op.c.rows, op.c.columns) != (m, n) {
        return Err(wrong("c", &op.c, format!("[{m}, {n}]")));
    }
    let (batches, heads) = op.maps;
    if m == 0 || n == 0 || k == 0 || batches == 0 || heads == 0 {
        return Err(GpuError::Unsupported { op: OP, reason: format!("an empty product: {m}×{n}×{k}") });
    }
    for (operand, matrix) in [("a", &op.a), ("b", &op.b), ("c", &op.c)] {
        if !matrix.fits_rows(heads) {
            return Err(wrong(operand, matrix, format!("columns within a row of {}", matrix.row_stride)));
        }
        expect::at_least(OP, operand, matrix.tensor, matrix.end(batches, heads))?;
        expect::index(OP, matrix.end(batches, heads))?;
    }
    expect::f32(OP, &[("a", op.a.tensor), ("c", op.c.tensor)])?;
    let f16 = match (op.b.tensor.dtype(), op.form) {
        (Dtype::F32, _) => false,
        (Dtype::F16, Form::NN | Form::NT) => true,
        _ => {
            return Err(GpuError::Dtype {
                op: OP,
                operand: "b",
                expected: "expected f32, or f16 in NN and NT form",
            });
        }
    };
    let mut bindings = vec![(1, op.a.tensor), (2, op.b.tensor), (3, op.c.tensor)];
    if let Some(bias) = op.bias {
        expect::f32(OP, &[("bias", bias)])?;
        expect::shape(OP, "bias", bias, &[n])?;
        bindings.push((4, bias));
    }
    for (at, operand, tensor) in [
        (5, "residual", op.residual),
        (6, "pre_activation", op.gelu),
        (6, "pre_activation", op.gelu_backward),
    ] {
        if let Some(tensor) = tensor {
            expect::f32(OP, &[(operand, tensor)])?;
            expect::shape(OP, operand, tensor, op.c.tensor.shape().dims())?;
            bindings.push((at, tensor));
        }
    }

    let variant = recorder.gpu.gemm_variant();
    let subgroup = recorder.gpu.capabilities().subgroup;
    let wanted = variant == GemmVariant::Image && op.maps == (1, 1) && m > FEW_ROWS;
    let a = Operand::of(recorder, "a", op.a, wanted || (op.b.tensor.is_image() && op.maps == (1, 1)))?;
    let b = Operand::of(recorder, "b", op.b, wanted)?;
    let bindings: Vec<(u32, &Tensor)> =
        [(1, &a.tensor), (2, &b.tensor)].into_iter().chain(bindings.drain(2..)).collect();
    let tile = match variant {
        GemmVariant::Workgroup => {
            Tile::Workgroup(recorder.gpu.tile_for((m, n, k), batches * heads, recorder.sum_order)?)
        }
        GemmVariant::Portable | GemmVariant::Subgroup | GemmVariant::Image => {
            Tile::Register(RegisterTile::choose(variant, subgroup, op.form, m, b.image.is_some()))
        }
    };
    let iterations = match (tile, op.form) {
        (Tile::Workgroup(_), _) => WorkgroupTile::iterations(k),
        (Tile::Register(_), Form::TN) => k,
        (Tile::Register(_), Form::NN | Form::NT) => k.div_ceil(4),
    };
    expect::iterations(OP, "the inner extent", iterations)?;
    let by_subgroup = matches!(variant, GemmVariant::Subgroup | GemmVariant::Image);
    let handed_round = by_subgroup && m > FEW_ROWS;
    let wide =
        by_subgroup && recorder.gpu.capabilities().wide_loads && (a.image.is_none() || b.image.is_none());
    let unroll = if handed_round && a.image.is_some() && b.image.is_some() { IMAGE_UNROLL } else { 1 };
    let mut options = vec![
        ("form", op.form as u32),
        ("a_image", a.image.map_or(0, |layout| layout as u32)),
        ("b_image", b.image.map_or(0, |layout| layout as u32)),
        ("unroll", unroll),
        ("wide", wide.into()),
        ("vec_a", (op.a.quads() && a.image.is_none()).into()),
        ("vec_b", (op.b.quads() && b.image.is_none()).into()),
        ("vec_c", op.c.quads().into()),
        ("f16", f16.into()),
        ("bias", op.bias.is_some().into()),
        ("gelu", op.gelu.is_some().into()),
        ("gelu_backward", op.gelu_backward.is_some().into()),
        ("residual", op.residual.is_some().into()),
        ("accumulate", op.accumulate.into()),
    ];
    let name = match tile {
        Tile::Workgroup(tile) => {
            options.extend(tile.options());
            "gemm_workgroup"
        }
        Tile::Register(tile) => {
            options.extend([
                ("tm", tile.rows),
                ("tn", tile.columns),
                ("wx", tile.width),
                ("subgroup", if handed_round { subgroup.unwrap_or(0) } else { 0 }),
            ]);
            "gemm_register"
        }
    };
    let index = |value: usize| expect::index(OP, value);
    let params = [
        index(m)?,
        index(n)?,
        index(k)?,
        index(heads)?,
        index(a.stride)?,
        index(b.stride)?,
        index(op.c.row_stride)?,
        op.causal as u32,
        index(a.offset)?,
        index(a.batch_stride)?,
        index(a.head_stride)?,
        index(b.offset)?,
        index(b.batch_stride)?,
        index(b.head_stride)?,
        index(op.c.offset)?,
        index(op.c.batch_stride)?,
        index(op.c.head_stride)?,
        op.alpha.to_bits(),
    ];
    let maps = expect::maps(OP, batches * heads)?;
    let across = |extent: usize, tile: u32| extent.div_ceil(tile as usize) as u32;
    let grid = match tile {
        Tile::Workgroup(tile) => [across(n, tile.columns), across(m, tile.rows), maps],
        Tile::Register(tile) => [across(m, tile.group_rows), across(n, tile.columns * tile.width), maps],
    };
    recorder.dispatch(&Kernel::new(name, options), &bindings, &params, grid)
}

/// What a workgroup computes.
#[derive(Clone, Copy)]
enum Tile {
    Register(RegisterTile),
    Workgroup(WorkgroupTile),
}

/// Steps of four along the inner extent that one iteration over images takes. lavapipe blends every accumulator with its
/// old value by the mask of active lanes, once an iteration, which is three of ten instructions with one step. Two take 0.9
/// of the time of one, four 0.85, at two and four times the compile time.
const IMAGE_UNROLL: u32 = 2;

/// Where a product finds an operand.
struct Operand {
    tensor: Tensor,
    image: Option<ImageLayout>,
    /// Of a buffer: its first element and the elements from row to row. Of an image: its first row and its first quad.
    offset: usize,
    stride: usize,
    /// Elements of a buffer, or rows of an image, from batch entry to batch entry and from head to head.
    batch_stride: usize,
    head_stride: usize,
}

impl Operand {
    /// The operand as it is, or packed into an image first where that is `wanted` and possible.
    fn of(
        recorder: &mut Recorder,
        name: &'static str,
        matrix: Matrix<'_>,
        wanted: bool,
    ) -> Result<Operand, GpuError> {
        if matrix.tensor.is_image() {
            let stride = matrix.row_stride.max(1);
            let (row, column) = (matrix.offset / stride, matrix.offset % stride);
            let whole_quads = column.is_multiple_of(4)
                && (column + matrix.columns == stride || matrix.columns.is_multiple_of(4));
            let whole_rows = [matrix.batch_stride, matrix.head_stride].iter().all(|s| s % stride == 0);
            if !whole_quads || !whole_rows {
                let expected = "a buffer, or whole quads of columns and whole rows of a matrix";
                return Err(GpuError::Layout { op: "gemm", operand: name, expected });
            }
            return Ok(Operand {
                tensor: matrix.tensor.clone(),
                image: matrix.tensor.image_layout(),
                offset: row,
                stride: column / 4,
                batch_stride: matrix.batch_stride / stride,
                head_stride: matrix.head_stride / stride,
            });
        }
        if wanted {
            let shape = [matrix.rows, matrix.columns].into();
            if let Some(image) = recorder.scratch_image(name, shape, matrix.tensor.dtype())? {
                pack(recorder, Pack { source: matrix, image: &image, first_row: 0 })?;
                let layout = image.image_layout();
                return Ok(Operand {
                    tensor: image,
                    image: layout,
                    offset: 0,
                    stride: 0,
                    batch_stride: 0,
                    head_stride: 0,
                });
            }
        }
        Ok(Operand {
            tensor: matrix.tensor.clone(),
            image: None,
            offset: matrix.offset,
            stride: matrix.row_stride,
            batch_stride: matrix.batch_stride,
            head_stride: matrix.head_stride,
        })
    }
}
