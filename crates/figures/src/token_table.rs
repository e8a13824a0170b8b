//! A table of tokens: in every cell one above another, on the colour of a size.

use crate::axis::{BAR_WIDTH, TICK, colour_bar};
use crate::font::fitted;
use crate::panel::{HEADING, heading, heading_width};
use crate::{Drawing, Rgb, cividis, readable_on};

/// Font size of tokens; the smallest that is read in print at a column's width.
const TEXT: f64 = 11.5;
const CELL_HEIGHT: f64 = 36.0;
const NARROWEST_CELL: f64 = 46.0;
const WIDEST_CELL: f64 = 112.0;
const PADDING: f64 = 5.0;

/// A cell of a [`TokenTable`].
#[derive(Clone, Debug, PartialEq)]
pub struct TokenCell {
    /// Upper token, blanks visible.
    pub upper: String,
    /// Lower token, blanks visible.
    pub lower: String,
    /// What colours the cell; from 0.
    pub size: f64,
    /// Shown when the cell is pointed at.
    pub title: String,
}

/// Rows of cells under named columns.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenTable {
    /// Heading.
    pub title: String,
    /// A line of explanation.
    pub remark: String,
    /// Names of the columns, blanks visible.
    pub columns: Vec<String>,
    /// Rows with their names; each has a cell for every column.
    pub rows: Vec<(String, Vec<TokenCell>)>,
    /// What the colours measure.
    pub size_name: String,
}

impl TokenTable {
    /// The table as a drawing.
    pub fn draw(&self) -> Drawing {
        let cells = || self.rows.iter().flat_map(|(_, cells)| cells);
        let texts = cells().flat_map(|cell| [&cell.upper, &cell.lower]).chain(&self.columns);
        let widest = texts.fold(0.0f64, |widest, text| widest.max(Drawing::text_width(text, TEXT)));
        let cell_width = (widest + 2.0 * PADDING).clamp(NARROWEST_CELL, WIDEST_CELL);
        let labels =
            self.rows.iter().fold(0.0f64, |widest, (label, _)| widest.max(Drawing::text_width(label, TEXT)));
        let left = labels + 8.0;
        let top = HEADING + 18.0;
        let (across, down) = (self.columns.len() as f64 * cell_width, self.rows.len() as f64 * CELL_HEIGHT);
        let width = (left + across + 14.0 + BAR_WIDTH).max(heading_width(&self.title, &self.remark));
        let mut drawing = Drawing::new(width, top + down);
        heading(&mut drawing, &self.title, &self.remark);

        let room = cell_width - 2.0 * PADDING;
        for (at, name) in self.columns.iter().enumerate() {
            let x = left + (at as f64 + 0.5) * cell_width;
            drawing.centred_text(x, top - 7.0, TEXT, Rgb::BLACK, &fitted(name, TEXT, room));
        }
        let largest = cells().fold(0.0f64, |largest, cell| largest.max(cell.size));
        for (row, (label, cells)) in self.rows.iter().enumerate() {
            let y = top + row as f64 * CELL_HEIGHT;
            drawing.text_before(left - 8.0, y + CELL_HEIGHT / 2.0 + 4.0, TEXT, Rgb::BLACK, label);
            for (column, cell) in cells.iter().enumerate() {
                let x = left + column as f64 * cell_width;
                let fill = cividis(if largest > 0.0 { cell.size / largest } else { 0.0 });
                let extent = (cell_width - 1.0, CELL_HEIGHT - 1.0);
                drawing.titled_rectangle((x, y), extent, fill, cell.title.as_str());
                let colour = readable_on(fill);
                let middle = x + (cell_width - 1.0) / 2.0;
                for (text, base) in [(&cell.upper, 14.5), (&cell.lower, 29.0)] {
                    drawing.centred_text(middle, y + base, TEXT, colour, &fitted(text, TEXT, room));
                }
            }
        }
        let height = (down - TICK).clamp(40.0, 220.0);
        colour_bar(&mut drawing, (left + across + 14.0, top + 5.0), height, largest, &self.size_name);
        drawing
    }
}
