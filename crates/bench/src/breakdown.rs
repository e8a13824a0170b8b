//! Times of dispatches, summed by kernel.

use retrograd_gpu::KernelTime;
use serde::Serialize;
use std::collections::BTreeMap;

/// All dispatches of one kernel in a pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelSum {
    /// Kernel and variant.
    pub kernel: String,
    /// Milliseconds together.
    pub ms: f64,
    /// How many.
    pub count: usize,
    /// Of all kernels' time, 0 to 1.
    pub share: f64,
}

/// The longest first.
pub fn by_kernel(times: &[KernelTime]) -> Vec<KernelSum> {
    let total: f64 = times.iter().map(|time| time.duration_ns).sum();
    let mut sums: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for time in times {
        let sum = sums.entry(&time.kernel).or_default();
        sum.0 += time.duration_ns;
        sum.1 += 1;
    }
    let mut rows: Vec<KernelSum> = sums
        .into_iter()
        .map(|(kernel, (ns, count))| KernelSum {
            kernel: kernel.to_owned(),
            ms: ns / 1e6,
            count,
            share: if total > 0.0 { ns / total } else { 0.0 },
        })
        .collect();
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    rows
}

/// Whether a kernel is a matrix product.
pub fn is_gemm(kernel: &str) -> bool {
    kernel.starts_with("gemm")
}

/// Nanoseconds in matrix products, and in all kernels.
pub fn gemm_and_all_ns(times: &[KernelTime]) -> (f64, f64) {
    let sum = |gemm: bool| times.iter().filter(|t| !gemm || is_gemm(&t.kernel)).map(|t| t.duration_ns).sum();
    (sum(true), sum(false))
}

/// A kernel's label in few words: its name, and the form of a product. The options of a variant are what tells
/// two pipelines apart, not two computations.
pub fn short_name(kernel: &str) -> String {
    let mut words = kernel.split(' ');
    let name = words.next().unwrap_or_default();
    let form = words.find_map(|word| match word {
        "form=0" => Some("NN"),
        "form=1" => Some("NT"),
        "form=2" => Some("TN"),
        _ => None,
    });
    match form {
        Some(form) => format!("{name} {form}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_names() {
        let time =
            |kernel: &str, duration_ns| KernelTime { kernel: kernel.to_owned(), start_ns: 0.0, duration_ns };
        let times = [
            time("layer_norm lanes=8", 1e6),
            time("gemm_register form=1 f16=0", 2e6),
            time("layer_norm lanes=8", 1e6),
        ];
        let sums = by_kernel(&times);
        assert_eq!(sums.len(), 2);
        let norm = sums.iter().find(|sum| sum.kernel.starts_with("layer")).unwrap();
        assert_eq!((norm.ms, norm.count, norm.share), (2.0, 2, 0.5));
        assert_eq!(gemm_and_all_ns(&times), (2e6, 4e6));
        assert_eq!(short_name("gemm_register form=1 f16=0"), "gemm_register NT");
        assert_eq!(short_name("layer_norm lanes=8"), "layer_norm");
    }
}
