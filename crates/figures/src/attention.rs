//! Figures of Reversed Attention: sizes of all heads and the maps of some; perturbation curves; patch sweeps.

use crate::{AttentionMap, Curve, Curves, Drawing, HeatMap, MapColours, Scale, beside, stack};
use retrograd_formats::{Head, PatchMap};
use retrograd_lens::{KeptPoint, OrderBy, PatchPoint, PerturbCurves};
use std::collections::BTreeMap;

/// A head whose maps are drawn.
#[derive(Clone, Debug)]
pub struct DrawnHead {
    /// The head.
    pub head: Head,
    /// ‖R‖ and ‖A‖, in words.
    pub remark: String,
    /// A, `[T, T]`.
    pub pattern: Vec<f32>,
    /// R, `[T, T]`.
    pub reversed: Vec<f32>,
}

/// Two grids of sizes side by side, layers down and heads across, and below them the two maps of each drawn head.
///
/// `sizes` has (head, ‖A‖, ‖R‖); a size that was not kept is 0.
pub fn attention_figure(
    what: &str,
    sizes: &[(Head, f64, f64)],
    tokens: &[String],
    drawn: &[DrawnHead],
) -> Drawing {
    let grid = |title: &str, remark: &str, of: fn(&(Head, f64, f64)) -> f64| {
        let mut layers: BTreeMap<usize, BTreeMap<usize, f64>> = BTreeMap::new();
        for size in sizes {
            layers.entry(size.0.layer).or_default().insert(size.0.head, of(size));
        }
        let heads = sizes.iter().map(|size| size.0.head + 1).max().unwrap_or(0);
        HeatMap {
            title: title.to_owned(),
            remark: remark.to_owned(),
            columns: (0..heads).map(|head| format!("H{head}")).collect(),
            rows: layers
                .iter()
                .map(|(layer, sizes)| {
                    let row = (0..heads).map(|head| sizes.get(&head).copied().unwrap_or(0.0)).collect();
                    (format!("L{layer}"), row)
                })
                .collect(),
            size_name: "norm".to_owned(),
        }
        .draw()
    };
    let mut rows = vec![beside(vec![
        grid(&format!("‖A‖, forward attention — {what}"), "layers down, heads across", |size| size.1),
        grid(&format!("‖R‖, Reversed Attention — {what}"), "layers down, heads across", |size| size.2),
    ])];
    for head in drawn {
        let map = |title: String, values: &[f32], colours| {
            AttentionMap {
                title,
                remark: head.remark.clone(),
                tokens: tokens.to_vec(),
                values: values.to_vec(),
                colours,
            }
            .draw()
        };
        rows.push(beside(vec![
            map(format!("{}: A", head.head), &head.pattern, MapColours::Pattern),
            map(format!("{}: R = ∂L/∂(q·kᵀ)", head.head), &head.reversed, MapColours::Reversed),
        ]));
    }
    stack(rows)
}

/// The accuracy that is left, by ordering: the most important heads kept, and the least.
pub fn perturb_figure(task: &str, curves: &PerturbCurves) -> Drawing {
    let panel =
        |title: &str, remark: &str, of: &BTreeMap<String, Vec<KeptPoint>>, areas: &BTreeMap<String, f64>| {
            let ordered = OrderBy::ALL.iter().filter_map(|order| of.get_key_value(order.name()));
            let curve = |(name, points): (&String, &Vec<KeptPoint>)| Curve {
                name: format!("{name}, area {:.3}", areas.get(name).copied().unwrap_or(0.0)),
                values: points.iter().map(|point| Some(point.accuracy.top1)).collect(),
            };
            let places = of.values().next().map_or_else(Vec::new, |points| {
                points.iter().map(|point| format!("{:.0}%", 100.0 * point.kept_fraction)).collect()
            });
            Curves {
                title: format!("{task}: {title}"),
                remark: remark.to_owned(),
                across: "share of the heads that speak".to_owned(),
                places,
                curves: ordered.map(curve).collect(),
                scale: Scale::Linear(0.0, 1.0),
            }
            .draw()
        };
    let mut panels = vec![panel(
        "the most important heads kept",
        "top-1 accuracy; the others silenced, by ordering",
        &curves.orderings,
        &curves.auc,
    )];
    if !curves.reverse.is_empty() {
        panels.push(panel(
            "the least important heads kept",
            "top-1 accuracy; the reverse of each ordering: low is good",
            &curves.reverse,
            &curves.reverse_auc,
        ));
    }
    stack(panels)
}

/// Accuracy against α, a panel for each kind of map, a curve for each number of shots.
pub fn patch_figure(task: &str, sweep: &[PatchPoint]) -> Drawing {
    let panel = |(map, name): (PatchMap, &str)| {
        let points: Vec<&PatchPoint> = sweep.iter().filter(|point| point.map == map).collect();
        let mut alphas: Vec<f32> = points.iter().map(|point| point.alpha).collect();
        alphas.sort_by(|a, b| b.total_cmp(a));
        alphas.dedup();
        let mut shots: Vec<usize> = points.iter().map(|point| point.shots).collect();
        shots.sort_unstable();
        shots.dedup();
        let curve = |shots: &usize| {
            let at = |alpha: &f32| points.iter().find(|point| point.shots == *shots && point.alpha == *alpha);
            let name = if *shots == 1 { "1 shot".to_owned() } else { format!("{shots} shots") };
            Curve {
                name,
                values: alphas.iter().map(|alpha| at(alpha).map(|point| point.accuracy.top1)).collect(),
            }
        };
        (!points.is_empty()).then(|| {
            Curves {
                title: format!("{task}: {name} added with factor α"),
                remark: "top-1 accuracy on unseen prompts; α = 0 is the model as it is".to_owned(),
                across: "α".to_owned(),
                places: alphas.iter().map(f32::to_string).collect(),
                curves: shots.iter().map(curve).collect(),
                scale: Scale::Linear(0.0, 1.0),
            }
            .draw()
        })
    };
    let kinds = [
        (PatchMap::Reversed, "mean Reversed Attention"),
        (PatchMap::Forward, "mean forward attention (control)"),
    ];
    stack(kinds.into_iter().filter_map(panel).collect())
}
