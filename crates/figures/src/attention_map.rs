//! A head's T×T map: keys across, queries down, nothing above the diagonal.

use crate::axis::{TICK, short};
use crate::font::fitted;
use crate::panel::{HEADING, heading, heading_width};
use crate::{Drawing, Rgb, diverging, greens};

/// Pixels of a map's side, and of its cells.
const SIDE: f64 = 300.0;
const WIDEST_CELL: f64 = 26.0;
/// Pixels of a token's name at most.
const LABEL: f64 = 74.0;
/// Names are written for so many tokens at most; numbers beyond.
const MOST_NAMES: usize = 24;

/// What the colours of a map mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapColours {
    /// Sizes from 0 on: white to green.
    Pattern,
    /// Around 0: orange raises the loss, purple lowers it.
    Reversed,
}

/// A map with the names of its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMap {
    /// Heading.
    pub title: String,
    /// A line of explanation.
    pub remark: String,
    /// Names of the tokens, blanks visible.
    pub tokens: Vec<String>,
    /// `[T, T]` row-major, queries down; what lies above the diagonal is not looked at.
    pub values: Vec<f32>,
    /// How values become colours.
    pub colours: MapColours,
}

impl AttentionMap {
    /// The map as a drawing.
    pub fn draw(&self) -> Drawing {
        let count = self.tokens.len().max(1);
        let cell = (SIDE / count as f64).min(WIDEST_CELL);
        let side = cell * count as f64;
        let (left, top) = (LABEL + 6.0, HEADING + 4.0);
        let width = (left + side + 8.0).max(heading_width(&self.title, &self.remark));
        let mut drawing = Drawing::new(width, top + side + 44.0);
        heading(&mut drawing, &self.title, &self.remark);
        let values = self.values.iter().map(|value| f64::from(*value));
        let largest = values.fold(0.0f64, |largest, value| largest.max(value.abs()));
        for query in 0..count {
            let y = top + query as f64 * cell;
            for key in 0..=query {
                let value = self.values.get(query * count + key).map_or(0.0, |value| f64::from(*value));
                let share = if largest > 0.0 { value / largest } else { 0.0 };
                let fill = match self.colours {
                    MapColours::Pattern => greens(share),
                    MapColours::Reversed => diverging(share),
                };
                let at = (left + key as f64 * cell, y);
                // Half a pixel of overlap: no white between cells where they are drawn smoothly.
                let size = cell + if key < query { 0.5 } else { 0.0 };
                drawing.titled_rectangle(at, (size, cell + 0.5), fill, self.words(query, key, value));
            }
            // The diagonal bounds what there is.
            let x = left + (query + 1) as f64 * cell;
            drawing.lines([(x, y), (x, y + cell)], 0.6, Rgb::FAINT);
        }
        self.names(&mut drawing, (left, top), cell);
        self.legend(&mut drawing, (left, top + side + 22.0), side.max(120.0), largest);
        drawing
    }

    fn words(&self, query: usize, key: usize, value: f64) -> String {
        let name = |at: usize| self.tokens.get(at).map_or("", String::as_str);
        let sign = match self.colours {
            MapColours::Pattern => "",
            MapColours::Reversed if value > 0.0 => ": more attention raises the loss",
            MapColours::Reversed if value < 0.0 => ": more attention lowers the loss",
            MapColours::Reversed => ": no effect",
        };
        format!("{} ({query}) ← {} ({key}): {}{sign}", name(query), name(key), short(value))
    }

    /// Names of the queries on the left; below, the positions of the keys.
    fn names(&self, drawing: &mut Drawing, (left, top): (f64, f64), cell: f64) {
        let count = self.tokens.len();
        let size = TICK.min(cell + 1.0).max(6.0);
        let every = (size / cell).ceil().max(1.0) as usize;
        for (at, name) in self.tokens.iter().enumerate().step_by(every) {
            let text = match count <= MOST_NAMES {
                true => format!("{} {at}", fitted(name, size, LABEL - 18.0)),
                false => at.to_string(),
            };
            let y = top + (at as f64 + 0.5) * cell + size * 0.35;
            drawing.text_before(left - 5.0, y, size, Rgb::BLACK, &text);
        }
        let every = (16.0 / cell).ceil().max(1.0) as usize;
        let bottom = top + count as f64 * cell + 12.0;
        for at in (0..count).step_by(every) {
            drawing.centred_text(left + (at as f64 + 0.5) * cell, bottom, TICK, Rgb::GREY, &at.to_string());
        }
    }

    fn legend(&self, drawing: &mut Drawing, (x, y): (f64, f64), width: f64, largest: f64) {
        const STRIPES: usize = 48;
        let stripe = width / STRIPES as f64;
        for at in 0..STRIPES {
            let share = (at as f64 + 0.5) / STRIPES as f64;
            let fill = match self.colours {
                MapColours::Pattern => greens(share),
                MapColours::Reversed => diverging(2.0 * share - 1.0),
            };
            drawing.rectangle(x + at as f64 * stripe, y, stripe + 0.5, 7.0, fill);
        }
        let below = y + 18.0;
        match self.colours {
            MapColours::Pattern => drawing.text(x, below, TICK, Rgb::GREY, "0"),
            MapColours::Reversed => {
                drawing.text(x, below, TICK, Rgb::GREY, &format!("{} lowers", short(-largest)));
            }
        }
        let end = match self.colours {
            MapColours::Pattern => short(largest),
            MapColours::Reversed => format!("raises {}", short(largest)),
        };
        drawing.text_before(x + width, below, TICK, Rgb::GREY, &end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_triangle_is_left_out_and_signs_are_said() {
        let map = AttentionMap {
            title: "L0H0".to_owned(),
            remark: String::new(),
            tokens: ["a", "␣b"].map(str::to_owned).to_vec(),
            values: vec![0.0, 9.0, -0.5, 0.25],
            colours: MapColours::Reversed,
        };
        let svg = map.draw().to_svg();
        assert!(svg.contains("␣b (1) ← a (0): -0.5: more attention lowers the loss"), "{svg}");
        assert!(svg.contains("0.25: more attention raises the loss"));
        assert!(!svg.contains("a (0) ← ␣b (1)"));
        let empty = AttentionMap { tokens: Vec::new(), values: Vec::new(), ..map };
        assert!(empty.draw().to_svg().starts_with("<svg"));
    }
}
