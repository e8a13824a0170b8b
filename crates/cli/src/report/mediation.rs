//! The page of `retrograd mediate`, and its table for other programs.

use super::bar::bar;
use super::number::{percent, short};
use super::page::{Page, fit, paint};
use super::style::{BAR, BOLD, DIM};
use super::trace::{quoted, tokens};
use retrograd::lens::{Ablation, Mediation, MediationReport};
use std::fmt::Write as _;

/// The heads whose replacement changes the target's probability most, those that matter for it first.
pub(crate) fn mediation(page: &mut Page, report: &MediationReport, top: usize) {
    if !report.tokens.is_empty() {
        tokens(page, &report.tokens);
    }
    let Mediation { ablation, target_probability, heads } = &report.mediation;
    let what = match ablation {
        Ablation::Zero => {
            "P(target | head silenced) − P(target): negative where the head matters for the target"
        }
        Ablation::Mean => {
            "P(target | head's mean over right prompts) − P(target), in prompts with shuffled answers: positive where it matters"
        }
    };
    let over = match (&report.target, report.prompts) {
        (Some(target), _) => format!("P({}) = {}", quoted(target), percent(target_probability.mean)),
        (None, prompts) => {
            format!(
                "mean over {prompts} prompts; P(target) = {} ± {}",
                percent(target_probability.mean),
                short(target_probability.std)
            )
        }
    };
    page.heading("Indirect effects", &format!("{what}; {over}"));
    let largest = heads.iter().fold(0.0f64, |largest, head| largest.max(head.indirect_effect.abs()));
    let spread = report.prompts > 1;
    let spread_title = if spread { "std" } else { "" };
    page.line(paint(DIM, format_args!("  {:>4}  {:<7} {:>10} {:>9}", "", "head", "effect", spread_title)));
    for (rank, head) in heads.iter().take(top).enumerate() {
        let share = if largest > 0.0 { head.indirect_effect.abs() / largest } else { 0.0 };
        let std = if spread { short(head.std) } else { String::new() };
        page.line(format_args!(
            "  {:>4}  {} {:>10} {std:>9}  {}",
            rank + 1,
            paint(BOLD, format_args!("{:<7}", head.id().to_string())),
            short(head.indirect_effect),
            paint(BAR, fit(&bar(share, 20), 20)),
        ));
    }
    if heads.len() > top {
        page.line(paint(DIM, format_args!("  … and {} more (--top N)", heads.len() - top)));
    }
}

/// Effects with heads down and layers across.
pub(crate) fn effects_csv(mediation: &Mediation) -> String {
    heads_by_layers(mediation.heads.iter().map(|head| (head.layer, head.head, head.indirect_effect)))
}

/// A table with heads down and layers across, as the authors' tables have it.
pub(crate) fn heads_by_layers(values: impl Iterator<Item = (usize, usize, f64)>) -> String {
    let values: std::collections::BTreeMap<(usize, usize), f64> =
        values.map(|(layer, head, value)| ((head, layer), value)).collect();
    let extent = |of: fn(&(usize, usize)) -> usize| values.keys().map(|key| of(key) + 1).max().unwrap_or(0);
    let (heads, layers) = (extent(|key| key.0), extent(|key| key.1));
    let mut csv = String::from("head");
    // Writing to a String does not fail.
    for layer in 0..layers {
        let _ = write!(csv, ",layer {layer}");
    }
    for head in 0..heads {
        let _ = write!(csv, "\n{head}");
        for layer in 0..layers {
            match values.get(&(head, layer)) {
                Some(value) => {
                    let _ = write!(csv, ",{value}");
                }
                None => csv.push(','),
            }
        }
    }
    csv.push('\n');
    csv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_down_and_layers_across() {
        let values = [(0, 0, 0.5), (1, 0, -1.0), (0, 1, 2.0)];
        assert_eq!(heads_by_layers(values.into_iter()), "head,layer 0,layer 1\n0,0.5,-1\n1,2,\n");
    }
}
