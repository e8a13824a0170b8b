//! The page of `retrograd perturb`, and its table for other programs.

use super::number::short;
use super::page::Page;
use super::table::table;
use retrograd::lens::{KeptPoint, OrderBy, PerturbCurves};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Both sets of curves as tables, the areas at their right.
pub(crate) fn perturb(page: &mut Page, task: &str, curves: &PerturbCurves, prompts: usize) {
    page.heading(
        &format!("{task}: the most important heads kept"),
        &format!("top-1 accuracy on {prompts} unseen prompts by share of the heads that speak; the others are silenced"),
    );
    rows(page, &curves.orderings, &curves.auc);
    if let Some(random) = curves.random_auc {
        page.remark(&format!(
            "  random: the mean of {} draws; their areas are {} ± {}",
            curves.random_draws.len(),
            short(random.mean),
            short(random.std)
        ));
    }
    if !curves.reverse.is_empty() {
        page.heading("The least important kept", "the reverse of each ordering: low is good");
        rows(page, &curves.reverse, &curves.reverse_auc);
    }
}

fn rows(page: &mut Page, curves: &BTreeMap<String, Vec<KeptPoint>>, areas: &BTreeMap<String, f64>) {
    let Some(first) = curves.values().next() else { return };
    let shares: Vec<String> =
        first.iter().map(|point| format!("{:.0}%", 100.0 * point.kept_fraction)).collect();
    let header: Vec<&str> =
        ["ordering", "area"].into_iter().chain(shares.iter().map(String::as_str)).collect();
    let row = |(name, points): (&String, &Vec<KeptPoint>)| {
        let area = areas.get(name).map_or_else(String::new, |area| format!("{area:.3}"));
        let cells = points.iter().map(|point| format!("{:.0}", 100.0 * point.accuracy.top1));
        [name.clone(), area].into_iter().chain(cells).collect()
    };
    let ordered = OrderBy::ALL.iter().filter_map(|order| curves.get_key_value(order.name()));
    table(page, &header, &ordered.map(row).collect::<Vec<Vec<String>>>());
}

/// A line for each point of each curve.
pub(crate) fn perturb_csv(curves: &PerturbCurves) -> String {
    let mut csv = String::from("ordering,kept,kept_fraction,top1,top2,top3\n");
    for (kept, set) in [("most important", &curves.orderings), ("least important", &curves.reverse)] {
        for (name, points) in set {
            for KeptPoint { kept_fraction, accuracy } in points {
                // Writing to a String does not fail.
                let _ = writeln!(
                    csv,
                    "{name},{kept},{kept_fraction},{},{},{}",
                    accuracy.top1, accuracy.top2, accuracy.top3
                );
            }
        }
    }
    csv
}
