//! The page of `retrograd sweep`.

use super::number::{count, short};
use super::page::Page;
use retrograd_sweep::SweepReport;
use std::path::Path;

/// What was done, and where it lies.
pub(crate) fn sweep(page: &mut Page, report: &SweepReport, out: &Path) {
    let number = |n: u64| count(usize::try_from(n).unwrap_or(usize::MAX));
    let rejects = out.join("part-*.rejects.jsonl");
    page.line(format_args!(
        "{} rows traced in {} s, {} a second",
        number(report.rows),
        short(report.seconds),
        short(report.rows_per_second)
    ));
    if report.rejected > 0 {
        page.line(format_args!(
            "{} rows could not be traced: {} says why",
            number(report.rejected),
            rejects.display()
        ));
    }
    let before = match report.parts_before {
        0 => String::new(),
        parts => format!(", {} done before", count(parts)),
    };
    page.line(format_args!(
        "wrote {} of {} parts to {}{before}",
        count(report.parts),
        count(report.table_parts),
        out.display()
    ));
    page.remark(&report.model);
    page.remark(&report.adapter);
}
