//! A map of sizes, rows by columns.

use crate::axis::{BAR_WIDTH, TICK, colour_bar, short};
use crate::font::fitted;
use crate::panel::{HEADING, heading, heading_width};
use crate::{Drawing, Rgb, cividis};

const CELL_HEIGHT: f64 = 16.0;
const WIDEST_MAP: f64 = 640.0;
const WIDEST_CELL: f64 = 54.0;
const NARROWEST_CELL: f64 = 6.0;

/// Sizes from 0 on, as colours.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Heading.
    pub title: String,
    /// A line of explanation.
    pub remark: String,
    /// Names of the columns, blanks visible.
    pub columns: Vec<String>,
    /// Rows with their names; each has a size for every column.
    pub rows: Vec<(String, Vec<f64>)>,
    /// What the colours measure.
    pub size_name: String,
}

impl HeatMap {
    /// The map as a drawing.
    pub fn draw(&self) -> Drawing {
        let count = self.columns.len().max(1) as f64;
        let cell = (WIDEST_MAP / count).clamp(NARROWEST_CELL, WIDEST_CELL);
        let labels =
            self.rows.iter().fold(0.0f64, |widest, (label, _)| widest.max(Drawing::text_width(label, TICK)));
        let (left, top) = (labels + 8.0, HEADING + 16.0);
        let (across, down) = (count * cell, self.rows.len() as f64 * CELL_HEIGHT);
        let width = (left + across + 14.0 + BAR_WIDTH).max(heading_width(&self.title, &self.remark));
        let mut drawing = Drawing::new(width, top + down.max(40.0));
        heading(&mut drawing, &self.title, &self.remark);
        // Names where there is room for them, else every so many positions' numbers.
        let every = if cell >= 24.0 { 1 } else { (24.0 / cell).ceil() as usize };
        for (at, name) in self.columns.iter().enumerate().step_by(every) {
            let text = if every == 1 { fitted(name, TICK, cell - 3.0) } else { at.to_string() };
            drawing.centred_text(left + (at as f64 + 0.5) * cell, top - 6.0, TICK, Rgb::BLACK, &text);
        }
        let sizes = self.rows.iter().flat_map(|(_, sizes)| sizes);
        let largest = sizes.fold(0.0f64, |largest, &size| largest.max(size));
        for (row, (label, sizes)) in self.rows.iter().enumerate() {
            let y = top + row as f64 * CELL_HEIGHT;
            drawing.text_before(left - 8.0, y + CELL_HEIGHT / 2.0 + 3.5, TICK, Rgb::BLACK, label);
            for (column, &size) in sizes.iter().enumerate() {
                let fill = cividis(if largest > 0.0 { size / largest } else { 0.0 });
                let at = (left + column as f64 * cell, y);
                let name = self.columns.get(column).map_or("", String::as_str);
                let title = format!("{label}, {name}: {}", short(size));
                // Half a pixel of overlap: no white between cells where they are drawn smoothly.
                drawing.titled_rectangle(at, (cell + 0.5, CELL_HEIGHT + 0.5), fill, title);
            }
        }
        let height = (down - TICK).clamp(30.0, 160.0);
        colour_bar(&mut drawing, (left + across + 14.0, top + 5.0), height, largest, &self.size_name);
        drawing
    }
}
