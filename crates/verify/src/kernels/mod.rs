//! Each operation of the engine against its twin in f64: sizes off every tile, one row, one column, the largest
//! that a GPT-2 asks for.
//!
//! One file a family, under the names of `crates/gpu/src/ops`. The tests of the engine run the same cases.

mod attention;
mod attention_decode;
mod bench;
mod causal_softmax;
mod cross_entropy;
mod elementwise;
mod embedding;
mod gemm;
mod gemm_epilogue;
mod gemm_heads;
mod gemm_tile;
mod layer_norm;
mod optimizer;
mod pack;
mod sums;
mod vocabulary_summary;

use crate::report::{Report, Section};
use crate::{Devices, Scope};
use bench::Bench;
use retrograd_formats::{RequestError, matches_glob};
use retrograd_gpu::ops::{GemmVariant, WorkgroupTile};
use retrograd_gpu::{Gpu, GpuError};
use retrograd_model::ModelError;

/// A family of operations: the name by which it is asked for, and its cases.
type Family = (&'static str, fn(&mut Bench) -> Result<(), GpuError>);

/// What does not depend on how products are computed.
const FAMILIES: &[Family] = &[
    ("embedding", embedding::lookups),
    ("embedding_backward", embedding::token_gradients),
    ("position_embedding_backward", embedding::position_gradients),
    ("layer_norm", layer_norm::forward),
    ("layer_norm_backward", layer_norm::backward),
    ("layer_norm_grad", layer_norm::grad),
    ("causal_softmax", causal_softmax::causal_softmax),
    ("reversed_attention", attention::reversed),
    ("attention_decode", attention_decode::attention_decode),
    ("add_scaled", elementwise::add_scaled),
    ("patch_attention", elementwise::patch_attention),
    ("replace_heads", elementwise::replace_heads),
    ("head_products", elementwise::head_products),
    ("cross_entropy", cross_entropy::cross_entropy),
    ("weighted_sum", sums::weighted_sum),
    ("vocabulary_summary", vocabulary_summary::vocabulary_summary),
    ("column_sum", sums::column_sum),
    ("map_norms", sums::map_norms),
    ("global_norm", optimizer::global_norm),
    ("adamw", optimizer::adamw),
];

/// What is run once for each way to compute products.
const PRODUCTS: &[Family] = &[
    ("pack", pack::pack_and_unpack),
    ("gemm", gemm::forms),
    ("gemm_epilogue", gemm_epilogue::epilogues),
    ("gemm_heads", gemm_heads::heads_in_place),
    ("attention", attention::whole_layer),
];

/// What is run once for each tile of the workgroup variant.
const TILES: &str = "gemm_tile";

/// The names that a pattern can match.
pub fn kernel_names() -> Vec<&'static str> {
    FAMILIES.iter().chain(PRODUCTS).map(|(name, _)| *name).chain([TILES]).collect()
}

/// Runs the operations whose name matches `pattern` (`*` and `?` as in file names, several by commas; all
/// without one), products by each of `variants` in its scope.
///
/// # Errors
/// When a part of the pattern matches no name, or the device fails.
pub(crate) fn verify(
    devices: &Devices,
    variants: &[(GemmVariant, Scope)],
    pattern: Option<&str>,
    scope: Scope,
    report: &mut Report,
    progress: &mut dyn FnMut(&str),
) -> Result<(), ModelError> {
    let parts: Vec<&str> = pattern.unwrap_or("*").split(',').map(str::trim).collect();
    if let Some(unknown) =
        parts.iter().find(|part| !kernel_names().iter().any(|name| matches_glob(part, name)))
    {
        let reason = format!("'{unknown}' matches none of {}", kernel_names().join(", "));
        return Err(RequestError::invalid("--kernels", reason).into());
    }
    let wanted = |name: &str| parts.iter().any(|part| matches_glob(part, name));
    let families: Vec<Family> = FAMILIES.iter().copied().filter(|(name, _)| wanted(name)).collect();
    if !families.is_empty() {
        let gpu = devices.open(None)?;
        for (name, run) in families {
            progress(name);
            family(&gpu, name.to_owned(), run, scope, report)?;
        }
    }
    if wanted(TILES) && variants.iter().any(|(variant, _)| *variant == GemmVariant::Workgroup) {
        tiles(devices, report, progress)?;
    }
    let products: Vec<Family> = PRODUCTS.iter().copied().filter(|(name, _)| wanted(name)).collect();
    if products.is_empty() {
        return Ok(());
    }
    for &(variant, scope) in variants {
        let gpu = devices.open(Some(variant))?;
        if !gpu.capabilities().runs(variant) {
            report
                .skipped
                .push(format!("products by the variant {variant}: this adapter's subgroups do not allow it"));
            continue;
        }
        for (name, run) in &products {
            progress(&format!("{name}, {variant}"));
            family(&gpu, format!("{name} {variant}"), *run, scope, report)?;
        }
    }
    Ok(())
}

/// Every tile that the device has room for.
fn tiles(devices: &Devices, report: &mut Report, progress: &mut dyn FnMut(&str)) -> Result<(), GpuError> {
    for tile in WorkgroupTile::ALL {
        progress(&format!("{TILES}, {tile}"));
        let gpu = devices.open_tiled(tile)?;
        if gpu.has_tile(tile) {
            family(&gpu, format!("{TILES} {tile}"), gemm_tile::geometry, Scope::Usual, report)?;
        } else {
            report
                .skipped
                .push(format!("products by the tile {tile}: this adapter's workgroups are smaller"));
        }
    }
    Ok(())
}

fn family(
    gpu: &Gpu,
    row: String,
    run: fn(&mut Bench) -> Result<(), GpuError>,
    scope: Scope,
    report: &mut Report,
) -> Result<(), GpuError> {
    let mut bench = Bench::new(gpu, row, scope);
    run(&mut bench)?;
    for (row, finding) in bench.findings {
        report.add(Section::Kernels, row, finding);
    }
    Ok(())
}
