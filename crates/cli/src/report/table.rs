//! A table: the first column is a text and takes what is left, the others are numbers.

use super::page::{Page, columns, fit, paint};
use super::style::DIM;

/// Blanks between columns.
const GAP: usize = 2;
/// The first column gives way until it is this narrow; then columns on the right are left out.
const NARROWEST_TEXT: usize = 24;

/// Adds a table. Every row has as many cells as the header; columns that are empty in every row do not appear.
pub(crate) fn table(page: &mut Page, header: &[&str], rows: &[Vec<String>]) {
    let used = |at: usize| rows.iter().any(|row| !row[at].is_empty());
    let width = |at: usize| {
        rows.iter().map(|row| columns(&row[at])).chain([columns(header[at])]).max().unwrap_or_default()
    };
    let widest_text = width(0);
    let mut numbers: Vec<(usize, usize)> =
        (1..header.len()).filter(|&at| used(at)).map(|at| (at, width(at))).collect();
    let taken = |numbers: &[(usize, usize)]| numbers.iter().map(|(_, width)| width + GAP).sum::<usize>();
    while numbers.len() > 1 && taken(&numbers) + NARROWEST_TEXT.min(widest_text) > page.width() {
        numbers.pop();
    }
    let text = widest_text.min(page.width().saturating_sub(taken(&numbers)));
    let line = |cell: &dyn Fn(usize) -> String| {
        let mut line = fit(&cell(0), text);
        for &(at, width) in &numbers {
            let cell = cell(at);
            line.push_str(&" ".repeat(GAP + width - columns(&cell)));
            line.push_str(&cell);
        }
        line
    };
    page.line(paint(DIM, line(&|at| header[at].to_owned())));
    for row in rows {
        page.line(line(&|at| row[at].clone()));
    }
}
