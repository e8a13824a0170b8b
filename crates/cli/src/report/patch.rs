//! The page of `retrograd patch`, and its table for other programs.

use super::page::Page;
use super::table::table;
use retrograd::PatchMap;
use retrograd::lens::{BestPatch, PatchPoint, PatchReport};
use std::fmt::Write as _;

/// The chosen factors and what they are worth, then the sweep.
pub(crate) fn patch(page: &mut Page, task: &str, report: &PatchReport) {
    let [validation, test] = report.prompts;
    page.heading(
        &format!("{task}: attention patching"),
        &format!("top-1 accuracy on {test} unseen prompts; α chosen on {validation} others"),
    );
    let row = |best: &BestPatch| {
        let percent = |accuracy: f64| format!("{:.1}%", 100.0 * accuracy);
        vec![
            format!("{}, {}", shots(best.shots), best.map.name()),
            format!("{}", best.alpha),
            percent(best.before.top1),
            percent(best.after.top1),
            format!("{:+.1}", 100.0 * (best.after.top1 - best.before.top1)),
        ]
    };
    table(
        page,
        &["mean maps", "best α", "before", "after", "gain"],
        &report.best.iter().map(row).collect::<Vec<_>>(),
    );
    page.heading("Every factor", "top-1 accuracy in percent on the unseen prompts");
    let mut alphas: Vec<f32> = report.sweep.iter().map(|point| point.alpha).collect();
    alphas.sort_by(|a, b| b.total_cmp(a));
    alphas.dedup();
    let titles: Vec<String> =
        report.best.iter().map(|best| format!("{} {}", best.shots, initial(best.map))).collect();
    let header: Vec<&str> = ["α"].into_iter().chain(titles.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = alphas
        .iter()
        .map(|alpha| {
            let cell = |best: &BestPatch| {
                let mut points = report.sweep.iter();
                let point = points.find(|p| p.shots == best.shots && p.map == best.map && p.alpha == *alpha);
                point.map_or_else(String::new, |point| format!("{:.0}", 100.0 * point.accuracy.top1))
            };
            std::iter::once(alpha.to_string()).chain(report.best.iter().map(cell)).collect()
        })
        .collect();
    table(page, &header, &rows);
    page.remark("  columns: shots, and R for mean Reversed Attention or A for mean forward attention");
}

fn shots(shots: usize) -> String {
    if shots == 1 { "1 shot".to_owned() } else { format!("{shots} shots") }
}

fn initial(map: PatchMap) -> char {
    match map {
        PatchMap::Reversed => 'R',
        PatchMap::Forward => 'A',
    }
}

/// A line for each factor.
pub(crate) fn patch_csv(sweep: &[PatchPoint]) -> String {
    let mut csv =
        String::from("shots,map,alpha,top1,top2,top3,validation_top1,validation_top2,validation_top3\n");
    for PatchPoint { shots, map, alpha, validation, accuracy } in sweep {
        // Writing to a String does not fail.
        let _ = writeln!(
            csv,
            "{shots},{},{alpha},{},{},{},{},{},{}",
            map.name(),
            accuracy.top1,
            accuracy.top2,
            accuracy.top3,
            validation.top1,
            validation.top2,
            validation.top3
        );
    }
    csv
}
