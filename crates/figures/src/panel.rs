//! What panels share: a heading, a place on a page.

use crate::{Drawing, Rgb};

/// Pixels around a page and between its panels.
const MARGIN: f64 = 18.0;
const GAP: f64 = 26.0;
/// Font sizes of a panel's title and of the remark below it.
const TITLE: f64 = 15.0;
const REMARK: f64 = 11.0;
/// Pixels that a heading takes.
pub(crate) const HEADING: f64 = 46.0;

/// Draws title and remark; the panel's content begins [`HEADING`] pixels below.
pub(crate) fn heading(drawing: &mut Drawing, title: &str, remark: &str) {
    drawing.text(0.0, TITLE, TITLE, Rgb::BLACK, title);
    drawing.text(0.0, TITLE + REMARK + 6.0, REMARK, Rgb::GREY, remark);
}

/// How wide a panel must be for its heading.
pub(crate) fn heading_width(title: &str, remark: &str) -> f64 {
    Drawing::text_width(title, TITLE).max(Drawing::text_width(remark, REMARK))
}

/// Panels side by side, their tops aligned, without a margin: a row of a [`stack`].
pub fn beside(panels: Vec<Drawing>) -> Drawing {
    let gaps = GAP * panels.len().saturating_sub(1) as f64;
    let width: f64 = panels.iter().map(|panel| panel.width).sum::<f64>() + gaps;
    let height = panels.iter().fold(0.0, |height: f64, panel| height.max(panel.height));
    let mut row = Drawing::new(width, height);
    let mut x = 0.0;
    for panel in panels {
        let width = panel.width;
        row.place(panel, x, 0.0);
        x += width + GAP;
    }
    row
}

/// Panels one below the other on one page, with a margin around them.
pub fn stack(panels: Vec<Drawing>) -> Drawing {
    let width = panels.iter().fold(0.0, |width: f64, panel| width.max(panel.width));
    let gaps = GAP * panels.len().saturating_sub(1) as f64;
    let height: f64 = panels.iter().map(|panel| panel.height).sum::<f64>() + gaps;
    let mut page = Drawing::new((width + 2.0 * MARGIN).ceil(), (height + 2.0 * MARGIN).ceil());
    let mut y = MARGIN;
    for panel in panels {
        let height = panel.height;
        page.place(panel, MARGIN, y);
        y += height + GAP;
    }
    page
}
