//! What `retrograd report` prints at its end.

use super::page::Page;
use super::table::table;
use retrograd::PatchMap;
use retrograd::lens::TaskFindings;

/// A line for each task: areas under the curves, and the best gain of patching.
pub(crate) fn findings(page: &mut Page, findings: &[TaskFindings]) {
    page.heading(
        "Tasks",
        "areas under the perturbation curves; gains of patching with mean R, in points of accuracy",
    );
    let shots: Vec<usize> = findings.first().map_or_else(Vec::new, |found| {
        found.best.iter().filter(|best| best.map == PatchMap::Reversed).map(|best| best.shots).collect()
    });
    let titles: Vec<String> = shots.iter().map(|shots| format!("{shots}-shot")).collect();
    let fixed = ["task", "acc.", "‖R‖", "mediat.", "attrib.", "‖A‖", "index", "random"];
    let header: Vec<&str> = fixed.into_iter().chain(titles.iter().map(String::as_str)).collect();
    let row = |found: &TaskFindings| {
        let area =
            |name: &str| found.curves.auc.get(name).map_or("-".to_owned(), |area| format!("{area:.3}"));
        let gain = |shots: &usize| {
            let mut best = found.best.iter().filter(|best| best.map == PatchMap::Reversed);
            best.find(|best| best.shots == *shots).map_or_else(String::new, |best| {
                format!("{:+.1}", 100.0 * (best.after.top1 - best.before.top1))
            })
        };
        let areas = ["reversed", "mediation", "attribution", "pattern", "index", "random"].map(area);
        [found.task.clone(), format!("{:.0}%", 100.0 * found.accuracy.top1)]
            .into_iter()
            .chain(areas)
            .chain(shots.iter().map(gain))
            .collect()
    };
    table(page, &header, &findings.iter().map(row).collect::<Vec<Vec<String>>>());
    for found in findings {
        page.remark(&format!("  {}: {}", found.task, found.verdict()));
    }
}
