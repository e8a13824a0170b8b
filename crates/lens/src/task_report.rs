//! What was found about a task, as a short text with tables.

use crate::{Accuracy, BestPatch, Mediation, PerturbCurves, Statistic, TaskAttentionReport};
use retrograd_formats::{Head, PatchMap};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Everything that a report of one task says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskFindings {
    /// The task's name.
    pub task: String,
    /// Demonstrations in the prompts of ranking and perturbation.
    pub shots: usize,
    /// Prompts of the training, validation and test part.
    pub prompts: [usize; 3],
    /// Accuracy on the test part with every head in place, at `shots`.
    pub accuracy: Accuracy,
    /// Heads by mean ‖R‖.
    pub by_reversed: Vec<(String, f64)>,
    /// Heads by how much silencing them lowers the target's probability.
    pub by_mediation: Vec<(String, f64)>,
    /// Perturbation.
    pub curves: PerturbCurves,
    /// Patching: the chosen factor for each number of shots and kind of map.
    pub best: Vec<BestPatch>,
}

impl TaskFindings {
    /// Gathers what a task's passes gave.
    pub fn new(
        attention: &TaskAttentionReport,
        task: &str,
        (shots, prompts): (usize, [usize; 3]),
        mediation: &Mediation,
        curves: PerturbCurves,
        best: Vec<BestPatch>,
    ) -> TaskFindings {
        let named = |head: Head, value| (head.to_string(), value);
        let mut effects: Vec<(String, f64)> =
            mediation.heads.iter().map(|effect| named(effect.id(), mediation.importance(effect))).collect();
        effects.sort_by(|a, b| b.1.total_cmp(&a.1));
        let whole = curves.orderings.values().next().and_then(|curve| curve.last());
        TaskFindings {
            task: task.to_owned(),
            shots,
            prompts,
            accuracy: whole.map_or_else(Accuracy::default, |point| point.accuracy),
            by_reversed: attention.heads.iter().map(|head| named(head.id(), head.reversed_norm)).collect(),
            by_mediation: effects,
            curves,
            best,
        }
    }

    fn area(&self, ordering: &str) -> Option<f64> {
        self.curves.auc.get(ordering).copied()
    }

    /// The text of one task, in Markdown.
    pub fn markdown(&self) -> String {
        let [training, validation, test] = self.prompts;
        let mut text = format!(
            "# {}\n\n{} {}; {training} prompts for ranking and means, {validation} for choosing α, {test} unseen ones \
             for the results.\nWith every head in place {:.1} % of the unseen prompts are answered right.\n\n## Heads\n\n",
            self.task,
            self.shots,
            if self.shots == 1 { "demonstration" } else { "demonstrations" },
            100.0 * self.accuracy.top1,
        );
        text += "![Norms of all heads and the maps of the strongest](heads.png)\n\n";
        text += "| rank | by ‖R‖ | mean ‖R‖ | by mediation | P lost without it |\n|---|---|---|---|---|\n";
        for (rank, (reversed, mediated)) in
            self.by_reversed.iter().zip(&self.by_mediation).take(5).enumerate()
        {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "| {} | {} | {:.2e} | {} | {:+.3} |",
                rank + 1,
                reversed.0,
                reversed.1,
                mediated.0,
                mediated.1
            );
        }
        let count = |n: usize| n.min(self.by_reversed.len());
        let top = count(5);
        let shared = self.by_reversed[..top]
            .iter()
            .filter(|(name, _)| self.by_mediation[..top].iter().any(|(other, _)| other == name))
            .count();
        let _ = writeln!(text, "\n{shared} of the first {top} heads are the same.\n");
        text += "## Perturbation\n\n![Accuracy by share of heads kept](perturb.svg)\n\n";
        text += "| ordering | area | area of its reverse |\n|---|---|---|\n";
        for (name, area) in &self.curves.auc {
            let reverse =
                self.curves.reverse_auc.get(name).map_or("–".to_owned(), |area| format!("{area:.3}"));
            let spread = match (name.as_str(), self.curves.random_auc) {
                ("random", Some(Statistic { std, .. })) => {
                    format!(" ± {std:.3} over {} draws", self.curves.random_draws.len())
                }
                _ => String::new(),
            };
            let _ = writeln!(text, "| {name} | {area:.3}{spread} | {reverse} |");
        }
        let _ = writeln!(text, "\n{}\n", self.verdict());
        text += "## Patching\n\n![Accuracy by factor](patch.svg)\n\n";
        text += "| shots | mean maps | chosen α | before | after | gain |\n|---|---|---|---|---|---|\n";
        for best in &self.best {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.1} % | {:.1} % | {:+.1} |",
                best.shots,
                best.map.name(),
                best.alpha,
                100.0 * best.before.top1,
                100.0 * best.after.top1,
                100.0 * (best.after.top1 - best.before.top1)
            );
        }
        text
    }

    /// How ‖R‖ compares with the other orderings.
    pub fn verdict(&self) -> String {
        let Some(reversed) = self.area("reversed") else {
            return "‖R‖ was not among the orderings.".to_owned();
        };
        let mut parts = Vec::new();
        if let Some(random) = self.curves.random_auc {
            let spreads = if random.std > 0.0 { (reversed - random.mean) / random.std } else { 0.0 };
            parts.push(format!(
                "‖R‖ {} chance by {:.3} ({:.1} of its standard deviations)",
                if reversed > random.mean { "beats" } else { "does not beat" },
                (reversed - random.mean).abs(),
                spreads
            ));
        }
        for (other, name) in [("index", "the model's order"), ("pattern", "‖A‖"), ("mediation", "mediation")]
        {
            let Some(area) = self.area(other) else { continue };
            let difference = reversed - area;
            parts.push(match difference.abs() < 0.005 {
                true => format!("it is level with {name}"),
                false if difference > 0.0 => format!("it beats {name} by {difference:.3}"),
                false => format!("it loses to {name} by {:.3}", -difference),
            });
        }
        parts.join("; ") + "."
    }
}

/// A table over several tasks, in Markdown.
pub fn overview(model: &str, findings: &[TaskFindings]) -> String {
    let mut text = format!(
        "# Reversed Attention on {} {}\n\nModel: `{model}`. Areas under the curves of top-1 accuracy against the share of \
         heads kept; gains of patching\non unseen prompts, α chosen on others. One directory a task has its figures and \
         tables.\n\n",
        findings.len(),
        if findings.len() == 1 { "task" } else { "tasks" }
    );
    text += "| task | shots | accuracy | ‖R‖ | mediation | attribution | ‖A‖ | index | random |\n|---|---|---|---|---|---|---|---|---|\n";
    for found in findings {
        let area = |name: &str| found.area(name).map_or("–".to_owned(), |area| format!("{area:.3}"));
        let random =
            found.curves.random_auc.map_or("–".to_owned(), |r| format!("{:.3} ± {:.3}", r.mean, r.std));
        let _ = writeln!(
            text,
            "| [{0}]({0}/report.md) | {1} | {2:.1} % | {3} | {4} | {5} | {6} | {7} | {random} |",
            found.task,
            found.shots,
            100.0 * found.accuracy.top1,
            area("reversed"),
            area("mediation"),
            area("attribution"),
            area("pattern"),
            area("index")
        );
    }
    text += "\n| task | shots | mean R: α | before | after | gain | mean A: α | after | gain |\n|---|---|---|---|---|---|---|---|---|\n";
    for found in findings {
        let of = |shots: usize, map| found.best.iter().find(|best| best.shots == shots && best.map == map);
        let mut shots: Vec<usize> = found.best.iter().map(|best| best.shots).collect();
        shots.dedup();
        shots.sort_unstable();
        shots.dedup();
        for shots in shots {
            let (Some(reversed), forward) = (of(shots, PatchMap::Reversed), of(shots, PatchMap::Forward))
            else {
                continue;
            };
            let gain = |best: &BestPatch| format!("{:+.1}", 100.0 * (best.after.top1 - best.before.top1));
            let _ = writeln!(
                text,
                "| {} | {shots} | {} | {:.1} % | {:.1} % | {} | {} | {} | {} |",
                found.task,
                reversed.alpha,
                100.0 * reversed.before.top1,
                100.0 * reversed.after.top1,
                gain(reversed),
                forward.map_or("–".to_owned(), |best| best.alpha.to_string()),
                forward.map_or("–".to_owned(), |best| format!("{:.1} %", 100.0 * best.after.top1)),
                forward.map_or("–".to_owned(), gain)
            );
        }
    }
    text + "\n" + &conclusion(findings)
}

/// What holds over all tasks.
fn conclusion(findings: &[TaskFindings]) -> String {
    let against = |other: &str| {
        let pairs: Vec<(f64, f64)> =
            findings.iter().filter_map(|found| Some((found.area("reversed")?, found.area(other)?))).collect();
        let wins = pairs.iter().filter(|(a, b)| a > b).count();
        let mean = pairs.iter().map(|(a, b)| a - b).sum::<f64>() / pairs.len().max(1) as f64;
        (wins, pairs.len(), mean)
    };
    let mut lines = String::new();
    for (other, name) in [
        ("random", "chance"),
        ("index", "the model's order"),
        ("pattern", "‖A‖"),
        ("attribution", "attribution patching"),
        ("mediation", "causal mediation"),
    ] {
        let (wins, all, mean) = against(other);
        if all > 0 {
            let _ = writeln!(
                lines,
                "- ‖R‖ against {name}: a larger area on {wins} of {all} tasks, {mean:+.3} in the mean."
            );
        }
    }
    let gains = |map| {
        let all: Vec<f64> = findings
            .iter()
            .flat_map(|found| &found.best)
            .filter(|best| best.map == map)
            .map(|best| best.after.top1 - best.before.top1)
            .collect();
        (all.iter().filter(|gain| **gain > 0.0).count(), all.iter().filter(|gain| **gain < 0.0).count(), all)
    };
    for (map, name) in
        [(PatchMap::Reversed, "Reversed Attention"), (PatchMap::Forward, "forward attention (control)")]
    {
        let (better, worse, all) = gains(map);
        if !all.is_empty() {
            let mean = 100.0 * all.iter().sum::<f64>() / all.len() as f64;
            let _ = writeln!(
                lines,
                "- Patching with mean {name}: better in {better} of {} settings, worse in {worse}, {mean:+.1} points in the \
                 mean.",
                all.len()
            );
        }
    }
    lines
}
